/** English or Portuguese, light or dark: kept in this browser. */
import { Store, useStore } from './store.js';

export type Language = 'en' | 'pt';
export type Theme = 'light' | 'dark';

function kept(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Where nothing may be kept, the choice holds until the page is left.
  }
}

const asked = kept('language') ?? navigator.language.slice(0, 2);
export const language = new Store<Language>(asked === 'pt' ? 'pt' : 'en');

const dark = matchMedia('(prefers-color-scheme: dark)');
const chosen = kept('theme');
export const theme = new Store<Theme>(
  chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light',
);
dark.addEventListener('change', () => {
  if (kept('theme') === null) theme.set(dark.matches ? 'dark' : 'light');
});

function show(): void {
  document.documentElement.lang = language.get() === 'pt' ? 'pt-BR' : 'en';
  document.documentElement.dataset.theme = theme.get();
}
show();
language.watch(show);
theme.watch(show);

export function setLanguage(value: Language): void {
  keep('language', value);
  language.set(value);
}
export function setTheme(value: Theme): void {
  keep('theme', value);
  theme.set(value);
}

/** The text of a view in both languages; the second has exactly the first's entries. */
export type Dictionary<T> = Readonly<Record<Language, T>>;
export function dictionary<T>(en: T, pt: T): Dictionary<T> {
  return { en, pt };
}
export function useText<T>(texts: Dictionary<T>): T {
  return texts[useStore(language)];
}

const locale = (): string => (language.get() === 'pt' ? 'pt-BR' : 'en');
export const fixed = (value: number, digits: number): string =>
  value.toLocaleString(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const whole = (value: number): string => Math.round(value).toLocaleString(locale());
/** Three digits that count. */
export const brief = (value: number): string => value.toLocaleString(locale(), { maximumSignificantDigits: 3 });
export function bytes(value: number): string {
  return value >= 1e9 ? `${fixed(value / 1e9, 2)} GB` : `${whole(value / 1e6)} MB`;
}
/** "1.2 s", "3.4 ms", "56 µs". */
export function duration(ms: number): string {
  if (ms >= 1000) return `${brief(ms / 1000)} s`;
  return ms >= 1 ? `${brief(ms)} ms` : `${brief(ms * 1000)} µs`;
}
/** "4:05", "1:02:03". */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const two = (v: number): string => String(v).padStart(2, '0');
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

export const classNames = dictionary(
  ['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'ankle boot'],
  ['camiseta', 'calça', 'pulôver', 'vestido', 'casaco', 'sandália', 'camisa', 'tênis', 'bolsa', 'bota'],
);
