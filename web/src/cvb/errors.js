/** Errors of the codec; the same kinds as in `codec/errors.py`, with the same messages. */

/** Base of every error that bad input raises. */
export class CodecError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** The bytes are no `.cvb` stream, or they are damaged, cut short or self-contradictory. */
export class CorruptStreamError extends CodecError {}

/** The bytes end before the stream does. */
export class TruncatedStreamError extends CorruptStreamError {}

/** Written by a newer format version, or with a chunk that we do not know. */
export class UnsupportedVersionError extends CodecError {}

/** The weights that a stream needs are not here. */
export class UnknownModelError extends CodecError {}
