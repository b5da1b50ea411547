/** The first test pictures with what the network says of them. */
import { Tile } from '../../parts/tile.js';
import { classNames, useText, whole } from '../../state/language.js';
import { learning, watch } from '../../state/learning.js';
import { usePart } from '../../state/store.js';
import { learnText } from '../learnText.js';

export function Pictures() {
  const text = useText(learnText);
  const names = useText(classNames);
  const { pictures, labels, glimpse, watched } = usePart(learning, 'pictures', 'labels', 'glimpse', 'watched');
  if (pictures === null || labels === null) return null;
  return (
    <section>
      <h2>{text.pictures}</h2>
      <p class="note">{text.picturesLead}</p>
      <ul class="pictures">
        {Array.from({ length: pictures.count }, (_, i) => {
          const is = names[labels[i]];
          const said = glimpse === null ? '' : names[glimpse.predicted[i]];
          const sure = glimpse === null ? '' : `${whole(100 * glimpse.sure[i])} %`;
          const right = glimpse !== null && glimpse.predicted[i] === labels[i];
          return (
            <li key={i}>
              <button
                type="button"
                class="picture"
                aria-pressed={watched.picture === i}
                onClick={() => watch(watched.block, i)}
              >
                <Tile tiles={pictures} index={i} />
                <span class="hidden">{glimpse === null ? is : text.takenFor(is)} </span>
                <span class={right ? 'right' : 'wrong'}>{said}</span>
                <span class="right">{sure}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
