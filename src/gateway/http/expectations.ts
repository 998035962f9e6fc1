import type { IncomingMessage, Server, ServerResponse } from 'node:http';

/** What is done about `Expect` headers. */
export function answerExpectations(server: Server): void {
  const handle = (request: IncomingMessage, response: ServerResponse): void =>
    void server.emit('request', request, response);
  // One that is not understood may be ignored (RFC 9110, 10.1.1); Node's own answer to it has no body.
  server.on('checkExpectation', handle);
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    const ask = (): void => {
      if (!response.headersSent) response.writeContinue();
    };
    // Behind a request that is still being answered, Node would put the 100 between the head of this answer and its
    // body. If the answer is known by the time it is this one's turn, there is nothing to ask for any more.
    if (response.socket === null) response.once('socket', ask);
    else ask();
    handle(request, response);
  });
}
