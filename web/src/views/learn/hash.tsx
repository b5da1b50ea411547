/** The hash of the weights, the published one, and the command that gives the same. */
import { useText } from '../../state/language.js';
import { learning } from '../../state/learning.js';
import { commandOf, publishedHash } from '../../state/recipe.js';
import { usePart } from '../../state/store.js';
import type { RunSettings } from '../../work/messages.js';
import { learnText } from '../learnText.js';

export function HashSection({ settings }: { readonly settings: RunSettings }) {
  const text = useText(learnText);
  const { phase, record } = usePart(learning, 'phase', 'record');
  const asked = record?.settings ?? settings;
  const gpu = asked.device === 'webgpu' || record?.device.startsWith('webgpu') === true;
  // `auto` may have come to a GPU, whose bits no published hash is of.
  const published = gpu ? null : publishedHash(asked);
  const command = commandOf(asked);
  const hash = record?.hash ?? null;
  const done = phase === 'done';
  return (
    <section>
      <h2>{text.hashTitle}</h2>
      <p class="note">{text.hashLead}</p>
      <dl class="hash">
        <dt>{text.ours}</dt>
        <dd>
          {hash === null ? (
            <span class="verdict note">{text.noHash}</span>
          ) : (
            <>
              <span data-hash={done ? 'final' : 'partial'}>{hash}</span>
              {!done && <span class="verdict note"> {text.onTheWay}</span>}
            </>
          )}
        </dd>
        <dt>{text.published}</dt>
        <dd>
          {published ?? <span class="verdict note">{text.noPublished}</span>}
          {published !== null && done && hash !== null && (
            <span class={`verdict ${hash === published ? 'good' : 'bad'}`} data-published={hash === published}>
              {' '}
              {hash === published ? text.equal : text.differs}
            </span>
          )}
        </dd>
      </dl>
      {gpu && <p class="note">{text.gpu}</p>}
      {asked.config.math === 'relaxed' && <p class="note">{text.relaxed}</p>}
      <p class="note">
        {command === null ? text.noCommand : gpu || asked.config.math === 'relaxed' ? text.alike : text.command}
      </p>
      {command !== null && (
        <pre class="command" data-command>
          {command}
        </pre>
      )}
    </section>
  );
}
