/** The page's state in its address, after the #: the view, and what in it differs from the usual. */
import { Store } from './store.js';

export const VIEWS = ['learn', 'look', 'judge', 'measure'] as const;
export type View = (typeof VIEWS)[number];

export interface Address {
  readonly view: View;
  readonly params: Readonly<Record<string, string>>;
}

function parse(hash: string): Address {
  const [name, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const view = VIEWS.find((one) => one === name) ?? 'learn';
  return { view, params: Object.fromEntries(new URLSearchParams(query)) };
}

export function hrefOf(view: View, params: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams(params).toString();
  return `#${view}${query === '' ? '' : `?${query}`}`;
}

export const address = new Store<Address>(parse(location.hash));
/** What each view was left with, so that its link goes back to it. */
export const lastParams: Partial<Record<View, Readonly<Record<string, string>>>> = {};

function go(to: Address): void {
  lastParams[to.view] = to.params;
  address.set(to);
}
go(address.get());
addEventListener('hashchange', () => go(parse(location.hash)));

/** Writes the view's parameters into the address without a new entry in the history. */
export function setParams(params: Readonly<Record<string, string>>): void {
  const { view } = address.get();
  history.replaceState(null, '', hrefOf(view, params));
  go({ view, params });
}
