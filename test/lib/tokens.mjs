// Tokens as an identity provider would make them.
import jwt from 'jsonwebtoken';

export const SECRET = 'a secret of the black-box tests, 32 bytes and more';

let count = 0;

/** A name nobody else uses in this test file. */
export function unique(name) {
  count += 1;
  return `${name}-${count}`;
}

/** An HS256 token; claims as the service reads them: userId or sub, roles, permissions, exp. */
export function token(claims, { secret = SECRET, ...options } = {}) {
  return jwt.sign(claims, secret, { algorithm: 'HS256', ...options });
}

/** Seconds since the epoch, as exp and nbf count them. */
export function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}
