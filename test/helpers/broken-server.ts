/** Servers that answer as no homeserver should, or not at all, and that count who came. */
import {execFile} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';

const run = promisify(execFile);

/** A request as it came in. */
export interface SeenRequest {
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
}

export interface BrokenServer {
  port: number;
  /** `http://127.0.0.1:PORT`, or `https://` with a certificate. */
  url: string;
  requests: SeenRequest[];
  /** Connections ever made to it, also those that asked for nothing. */
  connections: number;
}

/** Private key and certificate, PEM. */
export interface Certificate {
  key: string;
  cert: string;
}

const open = new Map<net.Server, Set<net.Socket>>();

/** End all servers; called after each test. */
export async function closeServers(): Promise<void> {
  const all = [...open];
  open.clear();
  await Promise.all(
    all.map(([server, sockets]) => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    }),
  );
}

async function listen(server: net.Server, scheme: string): Promise<BrokenServer> {
  const sockets = new Set<net.Socket>();
  open.set(server, sockets);
  const broken: BrokenServer = {port: 0, url: '', requests: [], connections: 0};
  server.on('connection', (socket: net.Socket) => {
    broken.connections++;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  broken.port = (server.address() as net.AddressInfo).port;
  broken.url = `${scheme}://127.0.0.1:${broken.port}`;
  return broken;
}

/** Speaks HTTP, or HTTPS with a certificate. */
export async function httpServer(
  answer: (request: http.IncomingMessage, response: http.ServerResponse) => void,
  certificate?: Certificate,
): Promise<BrokenServer> {
  const listener = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    broken.requests.push({
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
    });
    response.on('error', () => undefined);
    answer(request, response);
  };
  const server = certificate ? https.createServer(certificate, listener) : http.createServer(listener);
  server.on('tlsClientError', () => undefined);
  const broken = await listen(server, certificate ? 'https' : 'http');
  return broken;
}

/** Speaks whatever it is told to, from the first byte. */
export function tcpServer(answer: (socket: net.Socket) => void): Promise<BrokenServer> {
  return listen(net.createServer(answer), 'http');
}

/**
 * A forward proxy that only knows CONNECT, and takes every host for the one server behind it.
 * @returns it; its requests are the CONNECTs, the path is the host and port asked for.
 */
export async function connectProxy(behind: BrokenServer, status = 200): Promise<BrokenServer> {
  const server = http.createServer((_, response) => response.writeHead(405).end());
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
    proxy.requests.push({method: 'CONNECT', path: request.url ?? '', headers: request.headers});
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      return;
    }

    const upstream = net.connect(behind.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('close', () => upstream.destroy());
  });
  const proxy = await listen(server, 'http');
  return proxy;
}

/** A port of the loopback interface that nobody listens on. */
export async function closedPort(): Promise<number> {
  const server = net.createServer();
  const {port} = await listen(server, 'http');
  open.delete(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** @returns whether there is an openssl command to make certificates with. */
export async function hasOpenssl(): Promise<boolean> {
  return run('openssl', ['version']).then(
    () => true,
    () => false,
  );
}

/**
 * A self-signed certificate.
 * @param names subject alternative names, like `DNS:matrix.test` or `IP:127.0.0.1`.
 * @param days until it ends; below 1 it is over.
 */
export async function makeCertificate(names: string, days = 1): Promise<Certificate> {
  const directory = mkdtempSync(join(tmpdir(), 'mxtok-cert-'));
  const path = (name: string): string => join(directory, name);
  try {
    const subject = ['-subj', '/CN=mxtok test'];
    const extensions = `subjectAltName=${names}\nbasicConstraints=critical,CA:TRUE\n`;
    writeFileSync(path('ext'), extensions);
    await run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path('key')]);
    await run('openssl', ['req', '-new', '-key', path('key'), '-out', path('csr'), ...subject]);
    await run('openssl', [
      ...['x509', '-req', '-in', path('csr'), '-signkey', path('key'), '-extfile', path('ext')],
      ...['-days', String(days), '-out', path('cert')],
    ]);
    return {key: readFileSync(path('key'), 'utf8'), cert: readFileSync(path('cert'), 'utf8')};
  } finally {
    rmSync(directory, {recursive: true, force: true});
  }
}
