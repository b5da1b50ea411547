/** What may be wider than the page: it scrolls by itself, by keyboard too. */
import type { ComponentChildren } from 'preact';

interface ScrollProps {
  readonly label: string;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Scroll({ label, class: more = '', children }: ScrollProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
    <section class={`scroll ${more}`} tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}
