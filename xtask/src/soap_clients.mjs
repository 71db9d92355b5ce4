// Calls the SOAP dialect of a real server with soap of npm, unedited: it gets an address of a
// service description and credentials. soap_clients.py starts it, and does the device's part.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.SOAP_MODULES}/`);
const soap = require('soap');
const [wsdl, id, secret, component, serial, sample] = process.argv.slice(2);

const FIELDS = {
  dataField: [{ key: 'To', value: 'Ann <&> Bob' }, { key: 'Amount', value: '5 €' }],
};
const whose = { componentType: component, user: { userID: 'jane', domain: 'acme' } };
const push = { title: 'Pay?', dataFieldList: FIELDS };

// Has the device do something.
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const phone = async (request) => {
  console.log(request);
  return (await lines.next()).value;
};

// By default it makes XML attributes of a member `attributes`, which the vendor's lists have.
const client = await soap.createClientAsync(wsdl, { attributesKey: '$attributes' });
client.setSecurity(new soap.BasicAuthSecurity(id, secret));
let calls = 0;
const call = (port) => (command, parameters) => new Promise((resolve, reject) => {
  calls += 1;
  port[command](parameters, (error, answer) => (error ? reject(error) : resolve(answer)));
});
const signature = call(client.Signature.Signature);
const authentication = call(client.Signature.Authentication);

const succeeded = (status) => assert.deepEqual(status.resultCodes, {
  returnCodeEnum: 'RET_SUCCESS', statusCodeEnum: 'STAT_SUCCESS', returnCode: 0, statusCode: 0,
});
const failed = (status, name) => {
  assert.equal(status.resultCodes.returnCodeEnum, 'RET_FAILURE');
  assert.equal(status.resultCodes.statusCodeEnum, name);
};

// Parameters in the form of a list.
const attributes = (prefix, values) => ({
  attributes: Object.entries({ COMPONENT_TYPE: component, USERID: 'jane', ...values })
    .map(([name, value]) => ({ attributeID: `${prefix}_${name}`, value })),
});
// One attribute of an answer in that form.
const value = (results, wanted) => {
  const found = results.resultAttribute.attributes.filter((one) => one.attributeID === wanted);
  assert.equal(found.length, 1, `${wanted}: ${JSON.stringify(results)}`);
  // Some clients read the first child only.
  assert.equal(Object.keys(found[0])[0], 'value');
  return found[0].value;
};
const another = (code) => String((Number(code) + 1) % 10 ** 8).padStart(8, '0');

// The user signs a pushed request on the device.
await phone('approve');
let signed = await signature('authSignatureRequest', { ...whose, push });
succeeded(signed.status);
assert.equal(signed.result.user.userID, 'jane');
assert.equal(signed.result.serialNumber, serial);
assert.ok(signed.result.signature);

// A key that is scanned.
let made = await signature('genRequest', { ...whose, authType: 'SCAN', ...push });
succeeded(made.status);
assert.ok(Buffer.from(made.result.requestImage, 'base64').toString('latin1').startsWith('\x89PNG'));
assert.match(made.result.requestMessage, /^([0-9a-f]{2})+$/i);
let key = made.result.requestKey;
await phone(`scan ${key}`);
signed = await signature('authSignatureRequest', { ...whose, requestKey: key });
succeeded(signed.status);
assert.match(signed.result.signature, /^\d{8}$/);

// A key in the form of a list, for a device without a network: the person types the code.
const listed = attributes('SIGNFLD', { AUTH_TYPE: 'SCAN', TRANSACTION_TITLE: 'Pay?' });
made = await signature('genRequest', { attributeSet: listed, dataFieldList: FIELDS });
succeeded(made.results);
assert.equal(value(made.results, 'SIGNFLD_SERIAL_NO'), serial);
assert.match(value(made.results, 'SIGNFLD_REQUEST_MESSAGE'), /^([0-9a-f]{2})+$/i);
key = value(made.results, 'SIGNFLD_REQUEST_KEY');
const code = await phone(`code ${key}`);
let done = attributes('SIGNFLD', { REQUEST_KEY: key, SIGNATURE: another(code) });
let { results } = await signature('authSignature', { attributeSet: done });
failed(results, 'STAT_INVCREDENTIALS');
assert.ok(value(results, 'SIGNFLD_STATUS_MESSAGE'));
done = attributes('SIGNFLD', { REQUEST_KEY: key, SIGNATURE: code, SERIAL_NO: serial });
done.attributes[3].attributeOptions = { NEGATIVE: true, MASKED: true };
({ results } = await signature('authSignature', { attributeSet: done }));
succeeded(results);

// Logins by the vendor's two commands, and by the one in elements.
const title = 'Log in, Jane?';
const challenged = async () => {
  const challenge = { credentialAttributeSet: attributes('CREDFLD', { TRANSACTION_TITLE: title }) };
  const { results: challenged } = await authentication('getSecureChallenge', challenge);
  succeeded(challenged);
  return value(challenged, 'CREDFLD_CHALLENGE_KEY');
};
key = await challenged();
const login = { PASSWORD_FORMAT: '0', CHALLENGE_KEY: key };
for (const typed of [another, (same) => same]) {
  login.PASSWORD = typed(await phone(`code ${key} ${title}`));
  const entered = attributes('CREDFLD', login);
  ({ results } = await authentication('authUser', { credentialAttributeSet: entered }));
  if (typed === another) failed(results, 'STAT_INVCREDENTIALS');
}
succeeded(results);
assert.equal(value(results, 'CREDFLD_SERIAL_NO'), serial);
key = await challenged();
await phone(`scan ${key}`);
succeeded((await signature('authUserRequest', { ...whose, challengeKey: key })).status);

// A refused call has a status, and a sentence.
const other = { ...whose, componentType: 'Another', push };
let { status } = await signature('authSignatureRequest', other);
failed(status, 'STAT_INVPARAM');
assert.match(status.errorStack.errors[0].errorDesc, /componentType/);
const nobody = { ...whose, user: { userID: 'nobody' }, push };
({ status } = await signature('authSignatureRequest', nobody));
failed(status, 'STAT_NOT_FOUND');

// A message that is not a request gets a fault, whose sentence is shown; a wrong secret too.
const many = { dataField: Array.from({ length: 600 }, () => ({ key: 'a', value: 'b' })) };
const large = { ...whose, push: { title: 'Pay?', dataFieldList: many } };
await assert.rejects(signature('authSignatureRequest', large), /1024 elements/);
client.setSecurity(new soap.BasicAuthSecurity(id, 'another secret'));
const stranger = /no such client, or another secret/;
await assert.rejects(signature('authSignatureRequest', { ...whose, push }), stranger);

// A component without credentials, which the configuration knows by its type and network.
client.setSecurity(null);
made = await signature('genRequest', { ...whose, componentType: sample, ...push });
succeeded(made.status);
await assert.rejects(signature('genRequest', { ...whose, ...push }), stranger);

console.log(`done ${calls}`);
process.exit();
