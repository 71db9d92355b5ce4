// Compares Web Push's encryption (RFC 8188, RFC 8291) with `http_ece` from npm: each opens the messages of the other.
// The argument is the path of our program.

import { spawn } from 'node:child_process';
import { createECDH, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(`${process.cwd()}/target/node/`);
const ece = require('http_ece');

const ours = spawn(process.argv[2], { stdio: ['pipe', 'pipe', 'inherit'] });
const lines = createInterface({ input: ours.stdout })[Symbol.asyncIterator]();
const next = async () => (await lines.next()).value;

const keys = createECDH('prime256v1');
keys.generateKeys();
const auth = randomBytes(16);
const text = 'When I grow up, I want to be a watermelon: größer';
const subscription = {
  endpoint: 'https://push.example/theirs',
  keys: { p256dh: keys.getPublicKey('base64url'), auth: auth.toString('base64url') },
};
ours.stdin.write(`${JSON.stringify(subscription)}\n${text}\n`);
const sealed = Buffer.from(await next(), 'base64');
const opened = ece.decrypt(sealed, {
  version: 'aes128gcm', privateKey: keys, authSecret: auth.toString('base64url'),
});
if (opened.toString() !== text) throw new Error(`it opened to ${opened}`);

const theirs = JSON.parse(await next());
const sender = createECDH('prime256v1');
sender.generateKeys();
const message = ece.encrypt(Buffer.from(text), {
  version: 'aes128gcm', privateKey: sender, dh: theirs.keys.p256dh, authSecret: theirs.keys.auth,
});
ours.stdin.write(`${message.toString('base64')}\n`);
const said = await next();
if (said !== text) throw new Error(`our program opened it to ${said}`);
console.log('http_ece opens our messages, and our program opens its messages');
