/** Flags that more than one command takes. */
import { InvalidArgumentError, Option } from 'commander';
import { FIELDS, type TrainConfig } from './config.js';

/** The flag of a field of the config. @param byDefault what holds without it, for the help */
export function fieldOption(name: keyof TrainConfig, byDefault: string): Option {
  const { flag, help, numeric, want, valid } = FIELDS[name];
  return new Option(flag, `${help} (default: ${byDefault})`).argParser((text: string) => {
    const value = numeric ? (text.trim() === '' ? Number.NaN : Number(text)) : text;
    if (!valid(value)) throw new InvalidArgumentError(`Want ${want}.`);
    return value;
  });
}

/** For options that are a whole number of at least 1. */
export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Want a whole number of at least 1.');
  return Number(text);
}

/** Threads to compute on. */
export function threadsOption(): Option {
  return new Option(
    '--threads <n>',
    'threads to compute on; the bits are the same (default: one for each processor)',
  ).argParser((text: string) => (text === 'auto' ? text : wholeNumber(text)));
}

/** The best weights of a run in the place of its newest. */
export function bestOption(): Option {
  return new Option('--best', 'the weights of the epoch that tested best, in the place of the newest');
}
