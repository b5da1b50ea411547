/** A block's feature maps for the chosen picture, and its filters. */
import { Select } from '../../parts/fields.js';
import { TileGrid } from '../../parts/tile.js';
import { useText } from '../../state/language.js';
import { learning, watch } from '../../state/learning.js';
import { usePart } from '../../state/store.js';
import type { Maps } from '../../work/messages.js';
import { learnText } from '../learnText.js';

/** Maps and filters of one block. */
export function BlockTiles({ maps }: { readonly maps: Maps }) {
  const text = useText(learnText);
  const mapText = text.maps(maps.maps.count, maps.maps.of, maps.shape.slice(1).join('×'));
  const { filters, filterShape } = maps;
  const filterText =
    filterShape === null
      ? ''
      : filters
        ? text.filters(filters.count, filters.of, filterShape.join('×'))
        : text.pointwise;
  return (
    <>
      <p class="label">{mapText}</p>
      <TileGrid tiles={maps.maps} label={mapText} />
      <p class="label" style={{ marginTop: '1rem' }}>
        {filterText}
      </p>
      {filters && <TileGrid tiles={filters} label={filterText} />}
    </>
  );
}

export function Inside() {
  const text = useText(learnText);
  const { blocks, maps, watched } = usePart(learning, 'blocks', 'maps', 'watched');
  if (blocks.length === 0) return null;
  return (
    <section>
      <h2>{text.inside}</h2>
      <p class="note">{text.insideLead}</p>
      <div style={{ maxWidth: '16rem', marginBottom: '0.875rem' }}>
        <Select
          name="block"
          label={text.block}
          value={watched.block}
          choices={blocks.map(({ name, type }) => ({ value: name, label: `${name} ${type}` }))}
          onChange={(block) => watch(block, watched.picture)}
        />
      </div>
      {maps && <BlockTiles maps={maps} />}
    </section>
  );
}
