/** Form fields: a label and its control. */
import { dictionary, useText } from '../state/language.js';
import { mathsOf, mostThreads, type Where } from '../state/where.js';
import { DEVICES, type DeviceName } from '../work/messages.js';
import { autoThreads } from '../work/threads.js';

export interface Choice {
  readonly value: string;
  readonly label: string;
}

interface SelectProps {
  readonly label: string;
  readonly value: string;
  readonly choices: readonly (Choice | string)[];
  readonly onChange: (value: string) => void;
  readonly name?: string;
}

export function Select({ label, value, choices, onChange, name }: SelectProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <select name={name} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {choices.map((choice) => {
          const { value: own, label: shown } = typeof choice === 'string' ? { value: choice, label: choice } : choice;
          return (
            <option key={own} value={own} selected={own === value}>
              {shown}
            </option>
          );
        })}
      </select>
    </label>
  );
}

interface NumberProps {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly step?: number | 'any';
  readonly onChange: (value: number) => void;
  readonly name?: string;
}

/** Tells only values within its bounds, and shows what it tells: the nearest of what was typed. */
export function NumberField({ label, value, min, max, step = 1, onChange, name }: NumberProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        inputMode="decimal"
        {...{ name, min, max, step, value }}
        onChange={({ currentTarget: field }) => {
          const typed = step === 1 ? Math.round(field.valueAsNumber) : field.valueAsNumber;
          const next = Number.isFinite(typed) ? Math.min(max, Math.max(min, typed)) : value;
          field.value = String(next);
          if (next !== value) onChange(next);
        }}
      />
    </label>
  );
}

interface CheckProps {
  readonly label: string;
  /** The chapter's own word for it, where the page speaks another language. */
  readonly term?: string;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly name?: string;
}

export function Check({ label, term = '', checked, onChange, name }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" {...{ name, checked }} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        {label} <Term>{term}</Term>
      </span>
    </label>
  );
}

/** A word of the chapter, which is in Portuguese. */
export function Term({ children }: { readonly children: string }) {
  return children === '' ? null : (
    <i lang="pt-BR" class="term">
      {children}
    </i>
  );
}

const texts = dictionary(
  {
    device: 'Device',
    threads: 'Threads',
    math: 'Math',
    all: (n: number) => `auto (${n})`,
    names: { auto: 'auto', wasm: 'wasm', webgpu: 'webgpu', reference: 'reference, slow' },
  },
  {
    device: 'Dispositivo',
    threads: 'Threads',
    math: 'Aritmética',
    all: (n: number) => `auto (${n})`,
    names: { auto: 'auto', wasm: 'wasm', webgpu: 'webgpu', reference: 'reference, lento' },
  },
);

/** Where to compute, and how. */
export function WhereFields({
  device,
  threads,
  math,
  onChange,
}: Where & { readonly onChange: (where: Where) => void }) {
  const text = useText(texts);
  const counts = Array.from({ length: mostThreads() }, (_, i) => String(i + 1));
  const now = { device, threads, math };
  return (
    <>
      <Select
        name="device"
        label={text.device}
        value={device}
        choices={DEVICES.map((value) => ({ value, label: text.names[value] }))}
        onChange={(value) => {
          const next = value as DeviceName;
          onChange({ ...now, device: next, math: mathsOf(next).includes(math) ? math : 'exact' });
        }}
      />
      <div class="pair">
        <Select
          name="threads"
          label={text.threads}
          value={String(threads)}
          choices={[{ value: 'auto', label: text.all(autoThreads()) }, ...counts]}
          onChange={(value) => onChange({ ...now, threads: value === 'auto' ? 'auto' : Number(value) })}
        />
        <Select
          name="math"
          label={text.math}
          value={math}
          choices={mathsOf(device)}
          onChange={(value) => onChange({ ...now, math: value })}
        />
      </div>
    </>
  );
}
