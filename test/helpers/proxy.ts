/** A reverse proxy in front of the real homeserver. It records what passes, and can meddle with it. */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type {AddressInfo} from 'node:net';

/** A request, and what the homeserver answered; `status` 0 where it was not asked. */
export interface Exchange {
  method: string;
  /** As it came, not normalised. */
  path: string;
  headers: IncomingHttpHeaders;
  body: unknown;
  status: number;
}

export interface Reply {
  status: number;
  headers?: Record<string, string>;
  body: string;
}

export interface ProxyOptions {
  /** Everything is served below this path, and nothing beside it. */
  prefix?: string;
  /** Answer in the homeserver's place, cut the connection, or never answer; `undefined` passes it on. */
  instead?: (exchange: Exchange) => Reply | 'cut' | 'silence' | undefined;
  /** The homeserver has answered, the client does not know yet; the headers may be changed. */
  onAnswer?: (exchange: Exchange, headers: IncomingHttpHeaders) => Promise<void>;
  /** Whether to cut the connection in place of passing the answer on. */
  loseAnswer?: (exchange: Exchange) => boolean;
  /** The client has been sent the answer. */
  onAnswered?: (exchange: Exchange) => void;
}

const running = new Set<Proxy>();

export class Proxy {
  /** In the order in which they came. */
  readonly exchanges: Exchange[] = [];
  /** Ever made to it. */
  connections = 0;
  readonly #server: Server;
  readonly #upstream: URL;
  readonly #options: ProxyOptions;
  readonly #passing = new Set<Promise<unknown>>();

  private constructor(upstream: string, options: ProxyOptions) {
    this.#upstream = new URL(upstream);
    this.#options = options;
    this.#server = createServer((incoming, response) => {
      this.#serve(incoming, response).catch(() => {
        incoming.socket.destroy();
      });
    });
    this.#server.on('connection', () => this.connections++);
  }

  /** It ends with the test. */
  static async start(upstream: string, options: ProxyOptions = {}): Promise<Proxy> {
    const proxy = new Proxy(upstream, options);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    running.add(proxy);
    return proxy;
  }

  get url(): string {
    const {port} = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}${this.#options.prefix ?? ''}`;
  }

  /** Those of one method. */
  of(method: string): Exchange[] {
    return this.exchanges.filter((exchange) => exchange.method === method);
  }

  /** Wait until nothing is under way to the homeserver any more. */
  async settled(): Promise<void> {
    while (this.#passing.size > 0) await Promise.allSettled(this.#passing);
  }

  close(): void {
    running.delete(this);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const {prefix = '', instead, onAnswer, loseAnswer, onAnswered} = this.#options;
    const text = await textOf(incoming);
    const {method = '', url: path = '', headers} = incoming;
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    const exchange: Exchange = {method, path, headers, body, status: 0};
    this.exchanges.push(exchange);

    const outside = !path.startsWith(`${prefix}/`);
    const reply = outside ? {status: 404, body: 'nothing here'} : instead?.(exchange);
    if (reply === 'silence') return;
    if (reply === 'cut') {
      incoming.socket.destroy();
      return;
    }

    if (reply) {
      response.writeHead(reply.status, reply.headers);
      response.end(reply.body);
      return;
    }

    const passing = this.#pass(method, path.slice(prefix.length), headers, text);
    this.#passing.add(passing);
    const answer = await passing.finally(() => this.#passing.delete(passing));
    exchange.status = answer.status;
    await onAnswer?.(exchange, answer.headers);
    if (loseAnswer?.(exchange)) {
      incoming.socket.destroy();
      return;
    }

    response.writeHead(answer.status, answer.headers);
    response.end(answer.body, () => onAnswered?.(exchange));
  }

  #pass(
    method: string,
    path: string,
    headers: IncomingHttpHeaders,
    body: string,
  ): Promise<{status: number; headers: IncomingHttpHeaders; body: string}> {
    return new Promise((resolve, reject) => {
      const {hostname, port} = this.#upstream;
      const passed = {...headers, host: this.#upstream.host, 'accept-encoding': 'identity'};
      const outgoing = request({hostname, port, method, path, headers: passed}, (answer) => {
        textOf(answer).then((text) => {
          const {'transfer-encoding': _chunked, 'content-length': _length, ...rest} = answer.headers;
          resolve({status: answer.statusCode ?? 0, headers: rest, body: text});
        }, reject);
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  }
}

async function textOf(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** Called after each test. */
export function closeProxies(): void {
  for (const proxy of running) proxy.close();
}
