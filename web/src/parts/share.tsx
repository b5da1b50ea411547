/** A number with a bar that is full at 1. */
export function Share({ share, value }: { readonly share: number; readonly value: string }) {
  return (
    <span class="share">
      <span class="track" aria-hidden="true">
        <i class={share > 1 ? 'over' : ''} style={{ width: `${100 * Math.min(1, share)}%` }} />
      </span>
      {value}
    </span>
  );
}
