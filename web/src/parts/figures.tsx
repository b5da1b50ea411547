/** Figures that change, each under its name, and a bar of how far it is. */

/** Name, value, unit. */
export type Figure = readonly [name: string, value: string, unit?: string];

export function FigureList({ figures, share }: { readonly figures: readonly Figure[]; readonly share: number }) {
  return (
    <>
      <dl class="figures">
        {figures.map(([name, value, unit]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              {value} {unit && <small>{unit}</small>}
            </dd>
          </div>
        ))}
      </dl>
      <div class="bar" aria-hidden="true">
        <i style={{ transform: `scaleX(${share})` }} />
      </div>
    </>
  );
}
