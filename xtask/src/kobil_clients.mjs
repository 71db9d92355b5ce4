// Calls the token addresses of a real server with openid-client, unedited: it gets an issuer and
// credentials, and finds the rest by discovery.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.OPENID_CLIENT}/`);
const openid = await import(pathToFileURL(require.resolve("openid-client")));
const { address, client, account } = JSON.parse(process.argv[2]);

for (const path of ["/auth/realms/acme", "/trustedx-authserver/oauth/acme"]) {
  // By the address of OpenID Connect, and by the one of RFC 8414.
  for (const algorithm of ["oidc", "oauth2"]) {
    for (const authenticates of [openid.ClientSecretBasic, openid.ClientSecretPost]) {
      const issuer = new URL(address + path);
      const authentication = authenticates(client.client_secret);
      const config = await openid.discovery(issuer, client.client_id, undefined, authentication, {
        algorithm,
      });
      const metadata = config.serverMetadata();
      assert.equal(metadata.issuer, address + path);
      const token = await openid.clientCredentialsGrant(config);
      assert.equal(token.token_type, "bearer");
      if (metadata.introspection_endpoint) {
        assert.equal((await openid.tokenIntrospection(config, token.access_token)).active, true);
      }
      const ask = (password) =>
        openid.genericGrantRequest(config, "password", { username: account.account, password });
      if (metadata.grant_types_supported.includes("password")) {
        assert.ok((await ask(account.password)).access_token);
        await assert.rejects(ask("another password"), { error: "invalid_grant", status: 400 });
      } else {
        await assert.rejects(ask(account.password), { error: "unsupported_grant_type" });
      }
    }
  }
}
