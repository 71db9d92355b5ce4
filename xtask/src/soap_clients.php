<?php
// Calls the SOAP dialect of a real server with PHP's SoapClient, unedited: it gets an address of a
// service description and credentials. soap_clients.py starts it, and does the device's part.

[, $wsdl, $id, $secret, $component, $serial, $sample, $ca] = $argv;
const FIELDS = ['dataField' => [
    ['key' => 'To', 'value' => 'Ann <&> Bob'],
    ['key' => 'Amount', 'value' => '5 €'],
]];

$calls = 0;
$user = ['userID' => 'jane', 'domain' => 'acme'];
$whose = ['componentType' => $component, 'user' => $user];

function client(array $credentials): SoapClient
{
    global $wsdl, $ca;
    return new SoapClient($wsdl, [
        ...$credentials,
        'cache_wsdl' => WSDL_CACHE_NONE,
        'features' => SOAP_SINGLE_ELEMENT_ARRAYS,
        'stream_context' => stream_context_create(['ssl' => ['cafile' => $ca]]),
    ]);
}

function check(bool $holds, mixed $seen): void
{
    if (!$holds) {
        throw new Exception('unexpected: ' . print_r($seen, true));
    }
}

/** Has the device do something. */
function phone(string $request): string
{
    print "$request\n";
    return trim(fgets(STDIN));
}

function call(string $command, array $parameters): stdClass
{
    global $calls, $client;
    $calls++;
    return $client->$command($parameters);
}

function succeeded(stdClass $status): void
{
    $codes = $status->resultCodes;
    check([$codes->returnCodeEnum, $codes->returnCode] === ['RET_SUCCESS', 0], $status);
    check([$codes->statusCodeEnum, $codes->statusCode] === ['STAT_SUCCESS', 0], $status);
}

function failed(stdClass $status, string $name): void
{
    check($status->resultCodes->returnCodeEnum === 'RET_FAILURE', $status);
    check($status->resultCodes->statusCodeEnum === $name, $status);
}

/** Parameters in the form of a list. */
function attributes(string $prefix, array $values): array
{
    global $component;
    $list = [];
    foreach (['COMPONENT_TYPE' => $component, 'USERID' => 'jane', ...$values] as $name => $value) {
        // PHP makes numbers of keys of digits only.
        $list[] = ['attributeID' => "{$prefix}_$name", 'value' => (string) $value];
    }
    return ['attributes' => $list];
}

/** One attribute of an answer in that form. */
function value(stdClass $results, string $wanted): string
{
    $listed = $results->resultAttribute->attributes;
    $found = array_filter($listed, fn($one) => $one->attributeID === $wanted);
    check(count($found) === 1, [$wanted, $results]);
    return current($found)->value;
}

/** The sentence of a call that has to end in a fault. */
function fault(callable $refused): string
{
    try {
        $answer = $refused();
    } catch (SoapFault $fault) {
        return $fault->getMessage();
    }
    throw new Exception('no fault: ' . print_r($answer, true));
}

$client = client(['login' => $id, 'password' => $secret]);

// The user signs a pushed request on the device.
phone('approve');
$push = ['title' => 'Pay?', 'dataFieldList' => FIELDS];
$signed = call('authSignatureRequest', [...$whose, 'push' => $push]);
succeeded($signed->status);
check($signed->result->user->userID === 'jane', $signed);
check($signed->result->serialNumber === $serial && $signed->result->signature !== '', $signed);

// A key that is scanned.
$request = [...$whose, 'authType' => 'SCAN', 'title' => 'Pay?', 'dataFieldList' => FIELDS];
$made = call('genRequest', $request);
succeeded($made->status);
check(str_starts_with($made->result->requestImage, "\x89PNG"), $made);
check($made->result->requestMessage !== '', $made);
phone("scan {$made->result->requestKey}");
$awaited = ['requestKey' => $made->result->requestKey];
$signed = call('authSignatureRequest', [...$whose, ...$awaited]);
succeeded($signed->status);
check(preg_match('/^\d{8}$/', $signed->result->signature) === 1, $signed);

// A key in the form of a list, for a device without a network: the person types the code.
$listed = attributes('SIGNFLD', ['AUTH_TYPE' => 'SCAN', 'TRANSACTION_TITLE' => 'Pay?']);
$made = call('genRequest', ['attributeSet' => $listed, 'dataFieldList' => FIELDS])->results;
succeeded($made);
check(value($made, 'SIGNFLD_SERIAL_NO') === $serial, $made);
check(ctype_xdigit(value($made, 'SIGNFLD_REQUEST_MESSAGE')), $made);
$key = value($made, 'SIGNFLD_REQUEST_KEY');
$code = phone("code $key");
$wrong = sprintf('%08d', ((int) $code + 1) % 10 ** 8);
$done = attributes('SIGNFLD', ['REQUEST_KEY' => $key, 'SIGNATURE' => $wrong]);
$refused = call('authSignature', ['attributeSet' => $done])->results;
failed($refused, 'STAT_INVCREDENTIALS');
check(value($refused, 'SIGNFLD_STATUS_MESSAGE') !== '', $refused);
$done = ['REQUEST_KEY' => $key, 'SIGNATURE' => $code, 'SERIAL_NO' => $serial];
$done = attributes('SIGNFLD', $done);
$done['attributes'][3]['attributeOptions'] = ['NEGATIVE' => true, 'MASKED' => true];
succeeded(call('authSignature', ['attributeSet' => $done])->results);

// Logins by the vendor's two commands, and by the one in elements.
const TITLE = 'Log in, Jane?';
function challenged(): string
{
    $challenge = attributes('CREDFLD', ['TRANSACTION_TITLE' => TITLE]);
    $made = call('getSecureChallenge', ['credentialAttributeSet' => $challenge])->results;
    succeeded($made);
    return value($made, 'CREDFLD_CHALLENGE_KEY');
}
$key = challenged();
$entered = ['PASSWORD_FORMAT' => '0', 'CHALLENGE_KEY' => $key];
$entered['PASSWORD'] = phone("code $key " . TITLE);
$entered = call('authUser', ['credentialAttributeSet' => attributes('CREDFLD', $entered)])->results;
succeeded($entered);
check(value($entered, 'CREDFLD_SERIAL_NO') === $serial, $entered);
$key = challenged();
phone("scan $key");
succeeded(call('authUserRequest', [...$whose, 'challengeKey' => $key])->status);

// A refused call has a status, and a sentence.
$another = [...$whose, 'componentType' => 'Another', 'push' => $push];
$refused = call('authSignatureRequest', $another)->status;
failed($refused, 'STAT_INVPARAM');
check(str_contains($refused->errorStack->errors[0]->errorDesc, 'componentType'), $refused);
$nobody = [...$whose, 'user' => ['userID' => 'nobody'], 'push' => $push];
failed(call('authSignatureRequest', $nobody)->status, 'STAT_NOT_FOUND');

// A message that is not a request gets a fault, whose sentence is shown; a wrong secret too.
$many = ['dataField' => array_fill(0, 600, ['key' => 'a', 'value' => 'b'])];
$push = ['title' => 'Pay?', 'dataFieldList' => $many];
$told = fault(fn() => call('authSignatureRequest', [...$whose, 'push' => $push]));
check(str_contains($told, '1024 elements'), $told);
$client = client(['login' => $id, 'password' => 'another secret']);
$told = fault(fn() => call('authSignatureRequest', [...$whose, ...$awaited]));
check($told === 'no such client, or another secret', $told);

// A component without credentials, which the configuration knows by its type and network.
$client = client([]);
succeeded(call('genRequest', [...$request, 'componentType' => $sample])->status);
$told = fault(fn() => call('genRequest', $request));
check($told === 'no such client, or another secret', $told);

print "done $calls\n";
