/** The meaning of a stream's frames, by type. */
import { ServiceError } from '../protocol/errors.ts';
import { FrameType } from '../protocol/frames.ts';
import { parseJson, readU32 } from './payloads.ts';
import type { Stream } from './stream.ts';

/**
 * Hands a frame other than OPEN and DATA to its stream. `gone` is called when the peer has reset it. Returns the rule
 * that the frame broke, if any.
 */
export function takeFrame(
  stream: Stream,
  type: number,
  channel: number,
  payload: Uint8Array,
  gone: (error: ServiceError) => void,
): string | undefined {
  switch (type) {
    case FrameType.CREDIT:
      return stream.takeCredit(readU32(payload));
    case FrameType.FIN:
      return stream.takeFin(channel);
    case FrameType.OPENED:
    case FrameType.EVENT: {
      const message = parseJson(payload);
      if (message === undefined) return 'a message that is not a JSON object';
      return type === FrameType.EVENT ? stream.takeEvent(message) : stream.takeOpened(message);
    }
    case FrameType.REFUSED:
      return stream.takeRefused(ServiceError.fromWire(parseJson(payload)));
    case FrameType.RESET:
      gone(ServiceError.fromWire(parseJson(payload)));
      return undefined;
    default:
      return `a frame of type ${type} within a stream`;
  }
}

/** Whether this version of the protocol defines the frame type. */
export const isKnown = (type: number): boolean => type >= FrameType.HELLO && type <= FrameType.GOAWAY;
