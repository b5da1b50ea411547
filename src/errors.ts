/**
 * The typed errors of the library. Every message names the op, the argument, what it got and what it
 * wanted.
 */

/** Base of all errors that the library throws on purpose. */
export class AtalhoError extends Error {
  override name = 'AtalhoError';
}

/** A value in a message, whatever it is: a message must not fail where an argument is hopeless. */
export function show(value: unknown, deep = true): string {
  if (Array.isArray(value)) return deep ? `[${Array.from(value, (part) => show(part, false)).join(', ')}]` : 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  return typeof value === 'string' ? JSON.stringify(value) : `${String(value)}${typeof value === 'bigint' ? 'n' : ''}`;
}

/** A shape, an option or a value that an op cannot take. */
export class ArgumentError extends AtalhoError {
  override name = 'ArgumentError';
}

/** Tensors of two devices in one op, a disposed tensor, a kernel handed a foreign buffer. */
export class DeviceError extends AtalhoError {
  override name = 'DeviceError';
}

/** The GPU went away: a driver's reset, a device that was destroyed. All of its tensors are gone. */
export class DeviceLostError extends DeviceError {
  override name = 'DeviceLostError';
}

/** The device has no memory left for a request; nothing was changed by the call that threw it. */
export class OutOfMemoryError extends AtalhoError {
  override name = 'OutOfMemoryError';
  constructor(
    message: string,
    /** Bytes that the failed request asked for. */
    readonly requestedBytes: number,
    /** Bytes in use on the device when it failed. */
    readonly usedBytes: number,
  ) {
    super(message);
  }
}

/** Misuse of the graph: `grad` of a non-scalar, through a freed graph, of an unused tensor. */
export class AutogradError extends AtalhoError {
  override name = 'AutogradError';
}

/** A file that is not what its format says: truncated, oversized, inconsistent, hostile. */
export class FormatError extends AtalhoError {
  override name = 'FormatError';
}

/** Missing, unexpected or misshapen entries in a state dict. */
export class StateDictError extends AtalhoError {
  override name = 'StateDictError';
}

/** A run was ended by its signal. */
export class AbortedError extends AtalhoError {
  override name = 'AbortedError';
  constructor(
    message: string,
    /** Steps or images done by then. */
    readonly done: number,
  ) {
    super(message);
  }
}

/**
 * The result of `fn`, which looks at arguments that may be anything at all: what the language says of them becomes an ArgumentError
 * with its message.
 */
export function reading<T>(op: string, fn: () => T): T {
  try {
    return fn();
  } catch (error) {
    if (error instanceof AtalhoError || !(error instanceof Error)) throw error;
    throw new ArgumentError(`${op}: ${error.message}`, { cause: error });
  }
}
