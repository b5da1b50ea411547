/** What a training run shows as it goes: a bar on a terminal, a line now and then elsewhere. On stderr. */
import { type Options, SingleBar } from 'cli-progress';
import type { StepEvent } from '../train/trainer.js';

/** Seconds between lines where there is no terminal. */
const LINE_EVERY = 10;

/** Share of a training step's time that testing an image takes: forward only, of forward and twice as much back. */
const TEST_COST = 1 / 3;

/** "7 s", "4:05" or "2:13:09". */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const [hours, minutes, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export interface ProgressOptions {
  readonly epochs: number;
  /** Images that each epoch trains on, and tests on. */
  readonly trainImages: number;
  readonly testImages: number;
}

export class Progress {
  private bar: SingleBar | null = null;
  private lastLine = performance.now();
  /** Images and seconds of this session, for the rate. */
  private images = 0;
  private seconds = 0;
  /** Where the bar stands in words, kept while testing. */
  private text = '';

  constructor(
    private readonly o: ProgressOptions,
    private readonly stream: NodeJS.WriteStream = process.stderr,
  ) {}

  step(event: StepEvent): void {
    this.images += event.images;
    this.seconds += event.seconds;
    const rate = this.images / this.seconds;
    const { epochs, trainImages, testImages } = this.o;
    const share = event.position / event.batchesPerEpoch;
    const epochsLeft = epochs - event.epoch;
    const left = ((epochsLeft - share) * trainImages + epochsLeft * testImages * TEST_COST) / rate;
    this.text =
      `loss ${event.trainLoss.toFixed(3)}, acc ${event.trainAcc.toFixed(3)}, ` +
      `${rate.toFixed(1)} images/s, ${formatDuration(left)} left`;
    this.show(`epoch ${event.epoch + 1}/${epochs}`, event.position, event.batchesPerEpoch);
  }

  test(done: number, total: number): void {
    this.show('testing', done, total);
  }

  /** Takes the bar off the screen, so that lines can be printed. */
  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }

  private show(phase: string, done: number, total: number): void {
    if (!this.stream.isTTY) {
      if (performance.now() - this.lastLine < LINE_EVERY * 1000) return;
      this.lastLine = performance.now();
      this.stream.write(`${phase}: ${done}/${total}, ${this.text}\n`);
      return;
    }
    if (this.bar === null) {
      const options: Options = {
        format: '{phase} [{bar}] {value}/{total}, {text}',
        stream: this.stream,
        barsize: 20,
        barCompleteChar: '#',
        barIncompleteChar: '-',
        clearOnComplete: true,
        // Ctrl-C is ours: the step is finished and the run saved.
        gracefulExit: false,
      };
      this.bar = new SingleBar(options);
      this.bar.start(total, done, { phase, text: this.text });
    }
    if (this.bar.getTotal() !== total) this.bar.setTotal(total);
    this.bar.update(done, { phase, text: this.text });
  }
}
