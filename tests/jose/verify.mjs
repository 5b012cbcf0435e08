// Verifies security event tokens as a receiver would that is written in JavaScript: RFC 8417 with npm's `jose`.
//
// Reads one JSON object: `jwks`, `issuer`, `audience`, `tokens`. Writes one JSON array, an entry a token: its `header`
// and `payload`, or the `code` of why it is refused.
import { createLocalJWKSet, jwtVerify } from 'jose'
import { text } from 'node:stream/consumers'

const asked = JSON.parse(await text(process.stdin))
const keys = createLocalJWKSet(asked.jwks)
const options = {
  typ: 'secevent+jwt',
  issuer: asked.issuer,
  audience: asked.audience,
  algorithms: ['RS256', 'ES256'],
  requiredClaims: ['jti', 'iat', 'events', 'sub_id'],
}

const found = []
for (const token of asked.tokens) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, options)
    found.push({ header: protectedHeader, payload })
  } catch (error) {
    found.push({ code: error.code })
  }
}
process.stdout.write(JSON.stringify(found))
