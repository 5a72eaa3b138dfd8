/** Which certificate authorities to trust. */
import {readFile, stat} from 'node:fs/promises';
import * as tls from 'node:tls';

import {MxtokError} from '../errors.ts';
import {quote} from '../quote.ts';

/** OpenSSL's words for "signed by somebody I do not know". */
export const ISSUER_UNKNOWN = new Set([
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);

/** Where Debian, Red Hat, SUSE, Alpine, FreeBSD and macOS keep the system's bundle. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
  '/usr/local/etc/ssl/cert.pem',
];

/** The roots that come with Node together with those of the system, in PEM. */
export async function systemRoots(): Promise<string[]> {
  // Node 22.15 and later; Windows and macOS have no bundle file that would do as well.
  const {getCACertificates} = tls as unknown as {getCACertificates?: (type: string) => string[]};
  if (getCACertificates) return [...tls.rootCertificates, ...getCACertificates('system')];

  for (const path of [process.env['SSL_CERT_FILE'], ...BUNDLES]) {
    if (!path) continue;
    try {
      return [...tls.rootCertificates, await readFile(path, 'utf8')];
    } catch {
      // Another system's place.
    }
  }

  return [...tls.rootCertificates];
}

/** @throws {MxtokError} `usage` where the file cannot be read or holds no certificate. */
export async function readCaFile(path: string): Promise<string> {
  let pem: string;
  try {
    // A pipe in its place would wait for somebody to write to it.
    if (!(await stat(path)).isFile()) throw new Error('it is not a file');
    pem = await readFile(path, 'utf8');
  } catch (error) {
    throw new MxtokError('usage', `the CA file ${quote(path)} cannot be read: ${(error as Error).message}`);
  }

  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new MxtokError('usage', `the CA file ${quote(path)} holds no certificate in PEM form`);
  }

  return pem;
}
