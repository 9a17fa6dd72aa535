import eventBus from './index.cjs';

export const {
  Publisher,
  createEvent,
  channelOf,
  validate,
  PublishError,
  EventInvalidError,
  EventTooLargeError,
  BatchTooLargeError,
  BusyError,
  PublishTimeoutError,
  PublishAbortedError,
  NotReplicatedError,
  NotSentError,
  RefusedError,
  ClosedError,
} = eventBus;
