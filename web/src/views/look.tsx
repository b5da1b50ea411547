/** A network to look into: its shapes, its blocks' results for a picture, the chapter's figures. */

import './look.css';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Check, NumberField, Select } from '../parts/fields.js';
import { Scroll } from '../parts/scroll.js';
import { Share } from '../parts/share.js';
import { Tile } from '../parts/tile.js';
import { address, setParams } from '../state/address.js';
import { brief, classNames, dictionary, useText, whole } from '../state/language.js';
import { listRuns } from '../state/runStore.js';
import { useStore } from '../state/store.js';
import { labWorker } from '../work/client.js';
import type { LayerRow, NetworkSummary, OwnPicture, RunRecord, Seen, Tiles, WeightSource } from '../work/messages.js';
import { BlockTiles } from './learn/inside.js';
import { Figures } from './look/figures.js';
import { Plates, unitsOf } from './look/plates.js';

const texts = dictionary(
  {
    title: 'What the network is, and what it sees',
    lead: 'Every shape, parameter and multiply-add below is told by the code that trains it. Choose a block to see what it makes of a picture.',
    model: 'Network',
    size: 'Image size',
    shortcuts: 'Shortcuts',
    shortcutsTerm: 'conexões de atalho',
    weights: 'Weights',
    fresh: 'as drawn, seed 0',
    file: (name: string) => `file ${name}`,
    load: 'Load a safetensors file …',
    picture: 'Your own picture',
    drop: 'Drop a picture here, or choose a file. It stays in this page.',
    choose: 'Choose a picture',
    tour: 'The tour of shapes',
    drawing: 'The network as a drawing',
    tourNote: (p: string, m: string) =>
      `${p} parameters, ${m} multiply-adds for one image. Height is the side of the maps, width their channels; an arc is a shortcut, a square on it a 1×1 convolution.`,
    columns: { name: 'Name', layer: 'Layer', shape: 'Output shape', parameters: 'Parameters', macs: 'Multiply-adds' },
    describe: (name: string, shape: string, p: string, m: string) =>
      `${name}, output ${shape}, ${p} parameters, ${m} multiply-adds`,
    sees: 'What it makes of the picture',
    says: 'It says',
    freshNote: 'These weights have learnt nothing yet: train a run, or load a file.',
    classNumber: (n: number) => `class ${n}`,
    pictures: 'Test pictures',
    input: 'As the network gets it',
    own: 'your own',
    block: (name: string) => `Block ${name}`,
    inBlock: (block: string) => `${block}; its layers:`,
    working: 'Computing …',
  },
  {
    title: 'O que a rede é, e o que vê',
    lead: 'Toda forma, parâmetro e multiplicação-soma abaixo é dito pelo código que a treina. Escolha um bloco para ver o que faz de uma imagem.',
    model: 'Rede',
    size: 'Tamanho da imagem',
    shortcuts: 'Conexões de atalho',
    shortcutsTerm: '',
    weights: 'Pesos',
    fresh: 'como sorteados, semente 0',
    file: (name: string) => `arquivo ${name}`,
    load: 'Carregar um arquivo safetensors …',
    picture: 'Uma imagem sua',
    drop: 'Solte uma imagem aqui, ou escolha um arquivo. Ela fica nesta página.',
    choose: 'Escolher uma imagem',
    tour: 'Como a forma muda',
    drawing: 'A rede em um desenho',
    tourNote: (p: string, m: string) =>
      `${p} parâmetros, ${m} multiplicações-somas por imagem. A altura é o lado dos mapas, a largura os canais; um arco é uma conexão de atalho, um quadrado nele uma convolução 1×1.`,
    columns: { name: 'Nome', layer: 'Camada', shape: 'Forma da saída', parameters: 'Parâmetros', macs: 'Mult.-somas' },
    describe: (name: string, shape: string, p: string, m: string) =>
      `${name}, saída ${shape}, ${p} parâmetros, ${m} multiplicações-somas`,
    sees: 'O que faz da imagem',
    says: 'Ela diz',
    freshNote: 'Estes pesos ainda não aprenderam nada: treine uma execução, ou carregue um arquivo.',
    classNumber: (n: number) => `classe ${n}`,
    pictures: 'Imagens de teste',
    input: 'Como a rede a recebe',
    own: 'a sua',
    block: (name: string) => `Bloco ${name}`,
    inBlock: (block: string) => `${block}; suas camadas:`,
    working: 'Calculando …',
  },
);

const MODELS = [
  'd2l-resnet18',
  'd2l-resnet-tiny',
  'cifar-resnet20',
  'cifar-resnet56',
  'resnet18',
  'resnet34',
  'resnet50',
];
/** The pictures that a network is for; the chapter's tour is of 224×224. */
const usualSize = (model: string): number => (/^cifar/.test(model) ? 32 : model === 'd2l-resnet-tiny' ? 28 : 224);
const SHOWN = 16;

interface LookState {
  readonly model: string;
  readonly shortcuts: boolean;
  readonly size: number;
  readonly block: string;
  readonly picture: number;
  /** Id of a saved run. */
  readonly run: string;
}

function stateOf(params: Readonly<Record<string, string>>): LookState {
  const model = MODELS.find((one) => one === params.model) ?? 'd2l-resnet18';
  const size = Number(params.size ?? usualSize(model));
  const picture = Number(params.picture ?? 0);
  return {
    ...{ model, shortcuts: params.shortcuts !== 'off', block: params.block ?? '', run: params.run ?? '' },
    size: Number.isInteger(size) && size >= 12 && size <= 224 ? size : usualSize(model),
    picture: Number.isInteger(picture) && picture >= 0 && picture < SHOWN ? picture : 0,
  };
}

function paramsOf({ model, shortcuts, size, block, picture, run }: LookState): Record<string, string> {
  return {
    ...(model !== 'd2l-resnet18' && { model }),
    ...(!shortcuts && { shortcuts: 'off' }),
    ...(size !== usualSize(model) && { size: String(size) }),
    ...(block !== '' && { block }),
    ...(picture !== 0 && { picture: String(picture) }),
    ...(run !== '' && { run }),
  };
}

/** Taken out of the field, so that the same file can be chosen again. */
function chosenFile(field: HTMLInputElement): File | undefined {
  const file = field.files?.[0];
  field.value = '';
  return file;
}

const amount = (value: number): string =>
  value >= 1e9 ? `${brief(value / 1e9)} G` : value >= 1e6 ? `${brief(value / 1e6)} M` : whole(value);
const shapeText = (shape: readonly number[]): string => shape.join(' × ');

function Drop({ onPicture }: { readonly onPicture: (picture: OwnPicture) => void }) {
  const text = useText(texts);
  const [over, setOver] = useState(false);
  const [problem, setProblem] = useState('');
  const latest = useRef(0);
  const take = (file: Blob | undefined): void => {
    if (!file) return;
    const mine = ++latest.current;
    setProblem('');
    labWorker()
      .call('look.decode', file)
      .then(
        (picture) => mine === latest.current && onPicture(picture),
        (error: Error) => mine === latest.current && setProblem(error.message),
      );
  };
  useEffect(() => {
    // A picture that is dropped beside would take the place of the page, and of a run that trains in it.
    const stay = (event: Event): void => event.preventDefault();
    for (const type of ['dragover', 'drop']) addEventListener(type, stay);
    return () => {
      for (const type of ['dragover', 'drop']) removeEventListener(type, stay);
    };
  }, []);
  return (
    <div
      class={`drop ${over ? 'over' : ''}`}
      role="group"
      aria-label={text.picture}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer?.files[0]);
      }}
    >
      <p style={{ marginBottom: '0.5rem' }}>{text.drop}</p>
      <label class="button">
        {text.choose}
        <input
          class="hidden"
          type="file"
          accept="image/*"
          name="picture"
          onChange={(event) => take(chosenFile(event.currentTarget))}
        />
      </label>
      {problem !== '' && (
        <p class="bad" role="alert" lang="en">
          {problem}
        </p>
      )}
    </div>
  );
}

interface TourProps {
  readonly summary: NetworkSummary;
  readonly chosen: string;
  readonly describe: (row: LayerRow) => string;
}

function Tour({ summary, chosen, describe }: TourProps) {
  const text = useText(texts);
  const { columns } = text;
  const top = summary.layers.filter((l) => l.depth === 1);
  const block = summary.layers.find((l) => l.name === chosen);
  const within = summary.layers.filter((l) => l.leaf && l.name.startsWith(`${chosen}.`));
  const table = (rows: readonly LayerRow[], caption: string, named: boolean) => (
    <Scroll label={caption} class="spaced">
      <table>
        <caption class={named ? 'label' : 'hidden'}>{caption}</caption>
        <thead>
          <tr>
            <th scope="col">{columns.name}</th>
            <th scope="col">{columns.layer}</th>
            <th scope="col">{columns.shape}</th>
            <th scope="col" class="number">
              {columns.parameters}
            </th>
            <th scope="col" class="number">
              {columns.macs}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((l) => (
            <tr key={l.name} class={chosen === l.name || chosen.startsWith(`${l.name}.`) ? 'chosen' : ''}>
              <th scope="row" class="mono">
                {l.name}
              </th>
              <td>
                {l.type} <span class="note">{l.kernel}</span>
              </td>
              <td>{shapeText(l.output)}</td>
              <td class="number">{l.parameters === 0 ? '–' : whole(l.parameters)}</td>
              <td class="number">{l.macs === 0 ? '–' : whole(l.macs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
  return (
    <>
      {table(top, text.tour, false)}
      {block && within.length > 0 && table(within, text.inBlock(describe(block)), true)}
    </>
  );
}

export function Look() {
  const text = useText(texts);
  const names = useText(classNames);
  const { params } = useStore(address);
  const state = stateOf(params);
  const change = (part: Partial<LookState>): void => setParams(paramsOf({ ...state, ...part }));
  const [told, setTold] = useState<{ readonly of: string; readonly summary: NetworkSummary } | null>(null);
  const [chapter, setChapter] = useState<NetworkSummary | null>(null);
  const [tests, setTests] = useState<{ pictures: Tiles; labels: Uint8Array } | null>(null);
  /** Null while they are not known: weights of one may be asked for. */
  const [runs, setRuns] = useState<readonly RunRecord[] | null>(null);
  const [own, setOwn] = useState<OwnPicture | null>(null);
  const [file, setFile] = useState<{ readonly name: string; readonly number: number } | null>(null);
  const [latest, setLatest] = useState<{ readonly of: string; readonly seen: Seen } | null>(null);
  const [problem, setProblem] = useState('');
  const asked = useRef(0);
  const files = useRef(0);
  const { model, shortcuts, size, run } = state;
  const network = [model, shortcuts, size].join();
  const fail = (error: Error): void => setProblem(error.message);

  useEffect(() => {
    const worker = labWorker();
    worker.call('look.summary', 'd2l-resnet18', true, 224).then(setChapter, fail);
    worker.call('look.pictures', SHOWN).then(setTests, fail);
    listRuns().then(setRuns, () => setRuns([]));
    return () => void worker.call('look.close').catch(() => {});
  }, []);
  useEffect(() => {
    let current = true;
    labWorker()
      .call('look.summary', model, shortcuts, size)
      .then(
        (summary) => current && setTold({ of: network, summary }),
        (error: Error) => current && fail(error),
      );
    return () => {
      current = false;
    };
  }, [network]);

  const summary = told?.summary ?? null;
  const units = summary ? unitsOf(summary.layers) : [];
  const chosen = units.some((u) => u.row.name === state.block)
    ? state.block
    : (units.find((u) => u.block)?.row.name ?? '');
  const fitting = (runs ?? []).filter(
    ({ settings, step }) => settings.config.model === model && settings.shortcuts === shortcuts && step > 0,
  );
  const source: WeightSource =
    file !== null
      ? { kind: 'file', number: file.number }
      : fitting.some(({ id }) => id === run)
        ? { kind: 'run', id: run }
        : { kind: 'fresh' };
  const sourceKey = source.kind === 'run' ? source.id : source.kind === 'file' ? `file ${source.number}` : '';

  // What another network, or other weights, said is none of this one's.
  const subject = `${network} ${sourceKey}`;
  const seen = latest?.of === subject ? latest.seen : null;

  useEffect(() => {
    const mine = ++asked.current;
    // A block of the last network is none of the next.
    if (told?.of !== network || runs === null || chosen === '') return;
    setProblem('');
    labWorker()
      .call('look.see', { model, shortcuts, size, source }, own ?? state.picture, chosen)
      .then(
        (seen) => mine === asked.current && setLatest({ of: subject, seen }),
        (error: Error) => mine === asked.current && setProblem(error.message),
      );
  }, [told, network, runs, chosen, own, state.picture, sourceKey]);

  const describe = (l: LayerRow): string =>
    text.describe(`${l.name} ${l.type}`, shapeText(l.output), amount(l.parameters), amount(l.macs));
  const className = (index: number): string => names[index] ?? text.classNumber(index);
  const imagenet = /^resnet/.test(model);
  return (
    <>
      <h1>{text.title}</h1>
      <p class="lead">{text.lead}</p>
      <div class="desk">
        <form class="settings" onSubmit={(event) => event.preventDefault()}>
          <Select
            name="model"
            label={text.model}
            value={model}
            choices={MODELS}
            onChange={(next) => {
              setFile(null);
              change({ model: next, block: '', run: '', size: usualSize(next) });
            }}
          />
          <Check
            name="shortcuts"
            label={text.shortcuts}
            term={text.shortcutsTerm}
            checked={shortcuts}
            onChange={(on) => change({ shortcuts: on, run: '' })}
          />
          <NumberField
            name="size"
            label={text.size}
            value={size}
            {...{ min: 12, max: 224 }}
            onChange={(next) => change({ size: next })}
          />
          <Select
            name="weights"
            label={text.weights}
            value={sourceKey}
            choices={[
              { value: '', label: text.fresh },
              ...fitting.map((r) => ({
                value: r.id,
                label: `${r.settings.config.resize}², ${r.step}/${r.totalSteps}, ${r.hash?.slice(0, 8) ?? ''}`,
              })),
              ...(file !== null ? [{ value: sourceKey, label: text.file(file.name) }] : []),
            ]}
            onChange={(value) => {
              if (!value.startsWith('file ')) setFile(null);
              const taken = fitting.find(({ id }) => id === value);
              change({ run: taken?.id ?? '', ...(taken && { size: taken.settings.config.resize }) });
            }}
          />
          <label class="button">
            {text.load}
            <input
              class="hidden"
              type="file"
              accept=".safetensors"
              name="weightsFile"
              onChange={async (event) => {
                const given = chosenFile(event.currentTarget);
                if (!given) return;
                try {
                  await labWorker().call('look.file', new Uint8Array(await given.arrayBuffer()));
                  setFile({ name: given.name, number: ++files.current });
                } catch (error) {
                  fail(error as Error);
                }
              }}
            />
          </label>
          <Drop onPicture={setOwn} />
        </form>
        <div class="flow">
          <section>
            <h2>{text.tour}</h2>
            <p class="note">{summary ? text.tourNote(whole(summary.parameters), amount(summary.macs)) : '\u00a0'}</p>
            <Scroll label={text.drawing} class="reserved">
              {summary && (
                <Plates
                  layers={summary.layers}
                  chosen={chosen}
                  onChoose={(block) => change({ block })}
                  describe={describe}
                  label={text.drawing}
                />
              )}
            </Scroll>
            {summary && <Tour {...{ summary, chosen, describe }} />}
          </section>
          <section>
            <h2>{text.sees}</h2>
            <p class="note">{source.kind === 'fresh' ? text.freshNote : '\u00a0'}</p>
            {tests && (
              <div class="pictures" role="group" aria-label={text.pictures} style={{ marginBottom: '1.25rem' }}>
                {Array.from({ length: SHOWN }, (_, i) => (
                  <button
                    key={i}
                    type="button"
                    class="picture"
                    aria-pressed={own === null && state.picture === i}
                    aria-label={`${i + 1}: ${names[tests.labels[i]]}`}
                    onClick={() => {
                      setOwn(null);
                      change({ picture: i });
                    }}
                  >
                    <Tile tiles={tests.pictures} index={i} />
                  </button>
                ))}
              </div>
            )}
            {problem !== '' && (
              <p class="notice bad" role="alert" lang="en">
                {problem}
              </p>
            )}
            {seen === null ? (
              problem === '' && <p class="note">{text.working}</p>
            ) : (
              <div class="columns">
                <div>
                  <p class="label" style={{ marginBottom: '0.5rem' }}>
                    {text.input}
                    {own !== null && `, ${text.own}`}
                  </p>
                  <div style={{ maxWidth: '9rem', marginBottom: '1rem' }}>
                    <Tile tiles={seen.input} index={0} />
                  </div>
                  <h3>{text.says}</h3>
                  <table data-classes>
                    <caption class="hidden">{text.says}</caption>
                    <tbody>
                      {seen.classes.map(({ index, share }) => (
                        <tr key={index}>
                          <th scope="row">{imagenet ? text.classNumber(index) : className(index)}</th>
                          <td>
                            <Share share={share} value={`${brief(100 * share)} %`} />
                          </td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
                <div>
                  <h3 style={{ marginBottom: '0.5rem' }}>{text.block(seen.maps.block)}</h3>
                  <BlockTiles maps={seen.maps} />
                </div>
              </div>
            )}
          </section>
          {chapter && <Figures layers={chapter.layers} />}
        </div>
      </div>
    </>
  );
}
