/** What the page and its worker say to each other: calls with an answer, and events. */
import type { TrainConfig } from 'atalho/cli/config.js';

export type DeviceName = 'auto' | 'wasm' | 'webgpu' | 'reference';
export const DEVICES: readonly DeviceName[] = ['auto', 'wasm', 'webgpu', 'reference'];
export type Threads = number | 'auto';

/** Everything that a run is asked for. */
export interface RunSettings {
  readonly config: TrainConfig;
  /** False for the plain twin: the same layers, nothing added to their result. */
  readonly shortcuts: boolean;
  readonly device: DeviceName;
  readonly threads: Threads;
}

/** A test on the first so many test images. */
export interface TestPoint {
  readonly step: number;
  readonly accuracy: number;
  readonly images: number;
  /** Whether these are all that the run is tested on, at the end of an epoch. */
  readonly whole: boolean;
}

/** What is told of a run, and saved with its checkpoint. */
export interface RunRecord {
  readonly id: string;
  readonly settings: RunSettings;
  readonly created: number;
  readonly updated: number;
  readonly step: number;
  readonly totalSteps: number;
  /** Of each step's batch. */
  readonly losses: readonly number[];
  readonly accuracies: readonly number[];
  readonly tests: readonly TestPoint[];
  /** Images trained on, and the seconds that it took. */
  readonly images: number;
  readonly seconds: number;
  /** SHA-256 of the weights, once they are final. */
  readonly hash: string | null;
  /** What computed, in words. */
  readonly device: string;
}

export type Phase = 'loading' | 'running' | 'testing' | 'paused' | 'done' | 'failed';

/** Where the run is, a few times a second. */
export interface Progress {
  /** Of the steps since the last message. */
  readonly losses: readonly number[];
  readonly accuracies: readonly number[];
  readonly imagesPerSecond: number;
  readonly memoryBytes: number;
  readonly secondsLeft: number;
  /** Share of the images that a test has seen; null while none runs. */
  readonly testing: number | null;
}

/** What the network says of the first test images. */
export interface Glimpse {
  readonly step: number;
  readonly predicted: Uint8Array;
  /** Of the predicted class. */
  readonly sure: Float32Array;
  /** `[10 · label + predicted]`, over `images` images. */
  readonly confusion: Uint32Array;
  readonly images: number;
}

/** Pictures of equal size, side by side, 0 to 255; `signed`: 128 is 0. */
export interface Tiles {
  readonly count: number;
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
  readonly signed: boolean;
  /** How many there are in all. */
  readonly of: number;
}

export interface Maps {
  readonly block: string;
  readonly shape: readonly number[];
  /** Null for a layer without filters. */
  readonly filterShape: readonly number[] | null;
  readonly maps: Tiles;
  readonly filters: Tiles | null;
}

/** What may be looked into. */
export interface BlockInfo {
  readonly name: string;
  readonly type: string;
}

export interface LearnEvents {
  phase: { phase: Phase; message?: string; record: RunRecord };
  progress: Progress;
  test: TestPoint;
  glimpse: Glimpse;
  maps: Maps;
  blocks: { blocks: readonly BlockInfo[]; pictures: Tiles; labels: Uint8Array };
  /** The checkpoint that the browser keeps is of this step. */
  saved: { step: number };
  /** Why it could not be kept. */
  unsaved: string;
  warning: string;
}

export interface LayerRow {
  readonly name: string;
  readonly type: string;
  readonly depth: number;
  readonly output: readonly number[];
  readonly parameters: number;
  readonly macs: number;
  readonly leaf: boolean;
  /** Kernel and stride, such as "7×7, /2"; '' where there is none. */
  readonly kernel: string;
}

export interface NetworkSummary {
  readonly layers: LayerRow[];
  readonly parameters: number;
  readonly macs: number;
}

export type WeightSource =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'run'; readonly id: string }
  /** The file that was handed over last: files of one name are told apart by their number. */
  | { readonly kind: 'file'; readonly number: number };

export interface LookRequest {
  readonly model: string;
  readonly shortcuts: boolean;
  readonly size: number;
  readonly source: WeightSource;
}

/** A picture of one's own as the browser decoded it: red, green, blue, alpha. */
export interface OwnPicture {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray;
}

export interface Seen {
  readonly maps: Maps;
  /** Class and share, the likeliest first. */
  readonly classes: readonly { readonly index: number; readonly share: number }[];
  /** The picture as the network gets it. */
  readonly input: Tiles;
}

export type JudgeSuite = 'smoke' | 'edge' | 'resnet';

export interface JudgeRequest {
  readonly suite: JudgeSuite;
  readonly device: DeviceName;
  readonly threads: Threads;
  readonly math: string;
  /** Whether one mistake is planted, to see it found. */
  readonly mistake: boolean;
}

export interface JudgedCase {
  readonly id: string;
  readonly title: string;
  readonly op: string;
  readonly status: 'passed' | 'failed' | 'absent' | 'error';
  /** Largest share of the bound that counts. */
  readonly share: number;
  readonly elements: number;
  readonly equalBits: number | null;
  /** One line an output. */
  readonly lines: readonly string[];
  readonly causes: readonly string[];
}

export interface MeasureRequest {
  readonly device: DeviceName;
  readonly threads: Threads;
  readonly math: string;
  readonly size: 'small' | 'chapter';
}

export interface OpTime {
  readonly kind: 'op' | 'convolution' | 'step';
  readonly name: string;
  readonly shape: string;
  /** Median and fastest call, in milliseconds. */
  readonly ms: number;
  readonly best: number;
  readonly calls: number;
  readonly gradientMs: number | null;
  readonly gflops: number | null;
  readonly imagesPerSecond: number | null;
}

export type LabKind = 'judge' | 'measure';
export interface LabRequests {
  judge: JudgeRequest;
  measure: MeasureRequest;
}
export interface LabRows {
  judge: JudgedCase;
  measure: OpTime;
}

export type LabEvents = {
  readonly [K in LabKind as `${K}.device` | `${K}.warning`]: string;
} & {
  /** A row, its place and how many there will be; one may be told of again. */
  readonly [K in LabKind as `${K}.row`]: { readonly row: LabRows[K]; readonly at: number; readonly of: number };
};

/** How the worker tells of one of the two. */
export interface LabTold<K extends LabKind> {
  device(name: string): void;
  warning(message: string): void;
  row(row: LabRows[K], at: number, of: number): void;
}

/** What a worker does when it is asked. */
export interface Calls {
  'learn.start': (settings: RunSettings, single: boolean) => void;
  'learn.go': (single: boolean) => void;
  'learn.pause': () => void;
  'learn.open': (id: string) => void;
  'learn.watch': (block: string, picture: number) => void;
  'look.summary': (model: string, shortcuts: boolean, size: number) => NetworkSummary;
  'look.pictures': (count: number) => { pictures: Tiles; labels: Uint8Array };
  'look.decode': (file: Blob) => OwnPicture;
  'look.file': (bytes: Uint8Array) => void;
  'look.see': (request: LookRequest, picture: number | OwnPicture, block: string) => Seen;
  'look.close': () => void;
  'judge.start': (request: JudgeRequest) => void;
  'measure.start': (request: MeasureRequest) => void;
  stop: () => void;
}
export type CallName = keyof Calls;

export type ToWorker =
  | { readonly base: string }
  | { readonly id: number; readonly call: CallName; readonly args: readonly unknown[] };
export type FromWorker =
  | { readonly id: number; readonly value?: unknown; readonly error?: string }
  | { readonly event: string; readonly value: unknown };
