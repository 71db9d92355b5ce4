// Calls the SOAP dialect of a real server with JAX-WS, unedited: it gets an address of a service
// description and credentials, and wsimport has made the classes. soap_clients.py starts it, and
// does the device's part.

import com.vasco.identikeyserver.identikeytypes.signature.*;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.List;
import javax.xml.ws.BindingProvider;
import javax.xml.ws.Holder;
import javax.xml.ws.WebServiceException;
import javax.xml.ws.soap.SOAPFaultException;

public final class SoapClients {
    private static final PrintStream OUT =
        new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static final BufferedReader IN =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private static final String TITLE = "Log in, Jane?";

    private final Signature signature;
    private final Authentication authentication;
    private final String component;
    private final String serial;
    private int calls;

    private SoapClients(String wsdl, String id, String secret, String component, String serial)
        throws Exception {
        Signature_Service service = new Signature_Service(new URL(wsdl));
        signature = service.getSignature();
        authentication = service.getAuthentication();
        for (Object port : List.of(signature, authentication)) {
            authenticate(port, id, secret);
        }
        this.component = component;
        this.serial = serial;
    }

    private static void authenticate(Object port, String id, String secret) {
        var context = ((BindingProvider) port).getRequestContext();
        context.put(BindingProvider.USERNAME_PROPERTY, id);
        context.put(BindingProvider.PASSWORD_PROPERTY, secret);
    }

    public static void main(String[] given) throws Exception {
        var client = new SoapClients(given[0], given[1], given[2], given[3], given[4]);
        client.pushed();
        client.scanned();
        client.typed();
        client.loginsByAttributes();
        client.loginsByElements();
        client.refused();
        client.faults(given[1]);
        client.withoutCredentials(given[0], given[5]);
        OUT.println("done " + client.calls);
    }

    /** The user signs a pushed request on the device. */
    private void pushed() throws Exception {
        phone("approve");
        var signed = await(push(fields()), null);
        succeeded(signed.codes);
        check(signed.result.getUser().getUserID().equals("jane"), signed);
        check(signed.result.getSerialNumber().equals(serial), signed.result.getSerialNumber());
        check(!signed.result.getSignature().isEmpty(), signed);
    }

    /** A key that is scanned. */
    private void scanned() throws Exception {
        var status = new Holder<CommandStatusResponse>();
        var made = new Holder<GenRequestResult>();
        signature.genRequest(null, component, user("jane"), null, "SCAN", "Pay?", fields(), null,
            new Holder<>(), status, made);
        calls++;
        succeeded(status.value.getResultCodes());
        check(made.value.getRequestImage()[1] == 'P', "no PNG");
        check(made.value.getRequestMessage().length > 0, "no message");
        phone("scan " + made.value.getRequestKey());
        var signed = await(null, made.value.getRequestKey());
        succeeded(signed.codes);
        check(signed.result.getSignature().matches("\\d{8}"), signed.result.getSignature());
    }

    /** A key in the form of a list, for a device without a network: the person types the code. */
    private void typed() throws Exception {
        var made = new Holder<SignatureResults>();
        var listed = attributes("SIGNFLD", "AUTH_TYPE", "SCAN", "TRANSACTION_TITLE", "Pay?");
        signature.genRequest(listed, null, null, null, null, null, fields(), null, made,
            new Holder<>(), new Holder<>());
        calls++;
        succeeded(made.value.getResultCodes());
        check(value(made.value, "SIGNFLD_SERIAL_NO").equals(serial), made);
        check(value(made.value, "SIGNFLD_REQUEST_MESSAGE").matches("([0-9a-fA-F]{2})+"), made);
        String key = value(made.value, "SIGNFLD_REQUEST_KEY");
        String code = phone("code " + key);

        SignatureResults refused = complete(attributes(
            "SIGNFLD", "REQUEST_KEY", key, "SIGNATURE", another(code)));
        failed(refused.getResultCodes(), "STAT_INVCREDENTIALS");
        check(!value(refused, "SIGNFLD_STATUS_MESSAGE").isEmpty(), refused);

        var given = attributes(
            "SIGNFLD", "REQUEST_KEY", key, "SIGNATURE", code, "SERIAL_NO", serial);
        var options = new SignatureAttributeOptions();
        options.setNEGATIVE(true);
        options.setMASKED(true);
        given.getAttributes().get(3).setAttributeOptions(options);
        succeeded(complete(given).getResultCodes());
    }

    /** A login by the vendor's two commands. */
    private void loginsByAttributes() throws Exception {
        String key = challenged();
        String code = phone("code " + key + " " + TITLE);
        failed(enter(key, another(code)).getResultCodes(), "STAT_INVCREDENTIALS");
        SignatureResults entered = enter(key, code);
        succeeded(entered.getResultCodes());
        check(value(entered, "CREDFLD_SERIAL_NO").equals(serial), entered);
    }

    /** A login for which the application waits by the command in elements. */
    private void loginsByElements() throws Exception {
        String key = challenged();
        phone("scan " + key);
        var status = new Holder<CommandStatusResponse>();
        var entered = new Holder<AuthSignatureRequestResult>();
        signature.authUserRequest(component, user("jane"), null, null, key, status, entered);
        calls++;
        succeeded(status.value.getResultCodes());
        check(entered.value.getSerialNumber().equals(serial), entered);
    }

    /** The key of a login. */
    private String challenged() {
        SignatureResults made =
            authentication.getSecureChallenge(attributes("CREDFLD", "TRANSACTION_TITLE", TITLE));
        calls++;
        succeeded(made.getResultCodes());
        return value(made, "CREDFLD_CHALLENGE_KEY");
    }

    /** A refused call has a status, and a sentence. */
    private void refused() {
        var status = new Holder<CommandStatusResponse>();
        signature.authSignatureRequest("Another", user("jane"), null, push(fields()), null, status,
            new Holder<>());
        calls++;
        failed(status.value.getResultCodes(), "STAT_INVPARAM");
        String told = status.value.getErrorStack().getErrors().get(0).getErrorDesc();
        check(told.contains("componentType"), told);
        signature.authSignatureRequest(component, user("nobody"), null, push(fields()), null,
            status, new Holder<>());
        calls++;
        failed(status.value.getResultCodes(), "STAT_NOT_FOUND");
    }

    /** A message that is not a request gets a fault, whose sentence is shown. */
    private void faults(String id) {
        var many = new DataFieldList();
        for (int i = 0; i < 600; i++) {
            many.getDataField().add(field("a", "b"));
        }
        try {
            await(push(many), null);
            throw new AssertionError("no fault");
        } catch (SOAPFaultException fault) {
            check(fault.getMessage().contains("1024 elements"), fault);
        }
        authenticate(signature, id, "another secret");
        try {
            await(push(fields()), null);
            throw new AssertionError("a wrong secret was accepted");
        } catch (WebServiceException refused) {
            // Of HTTP's own errors JAX-WS shows the status only.
            check(refused.getMessage().contains("401"), refused);
        }
    }

    /** A component without credentials, which the configuration knows by its type and network. */
    private void withoutCredentials(String wsdl, String sample) throws Exception {
        var status = new Holder<CommandStatusResponse>();
        new Signature_Service(new URL(wsdl)).getSignature().genRequest(null, sample, user("jane"),
            null, "SCAN", "Pay?", fields(), null, new Holder<>(), status, new Holder<>());
        calls++;
        succeeded(status.value.getResultCodes());
    }

    /** An answer of authSignatureRequest. */
    private record Signed(ResultCodes codes, AuthSignatureRequestResult result) {}

    private Signed await(PushSignatureRequest push, String key) {
        var status = new Holder<CommandStatusResponse>();
        var result = new Holder<AuthSignatureRequestResult>();
        calls++;
        signature.authSignatureRequest(component, user("jane"), null, push, key, status, result);
        return new Signed(status.value.getResultCodes(), result.value);
    }

    private SignatureResults complete(SignatureAttributeSet given) {
        var results = new Holder<SignatureResults>();
        signature.authSignature(given, null, null, null, null, null, null, results, new Holder<>(),
            new Holder<>());
        calls++;
        return results.value;
    }

    private SignatureResults enter(String key, String code) {
        calls++;
        return authentication.authUser(attributes(
            "CREDFLD", "PASSWORD_FORMAT", "0", "CHALLENGE_KEY", key, "PASSWORD", code));
    }

    /** Has the device do something. */
    private static String phone(String request) throws Exception {
        OUT.println(request);
        return IN.readLine();
    }

    private static UserInput user(String id) {
        var user = new UserInput();
        user.setUserID(id);
        user.setDomain("acme");
        return user;
    }

    private static DataField field(String key, String value) {
        var field = new DataField();
        field.setKey(key);
        field.setValue(value);
        return field;
    }

    private static DataFieldList fields() {
        var fields = new DataFieldList();
        fields.getDataField().add(field("To", "Ann <&> Bob"));
        fields.getDataField().add(field("Amount", "5 €"));
        return fields;
    }

    private static PushSignatureRequest push(DataFieldList fields) {
        var push = new PushSignatureRequest();
        push.setTitle("Pay?");
        push.setDataFieldList(fields);
        return push;
    }

    /** Parameters in the form of a list: names and values by turns. */
    private SignatureAttributeSet attributes(String prefix, String... values) {
        var set = new SignatureAttributeSet();
        add(set, prefix, "COMPONENT_TYPE", component);
        add(set, prefix, "USERID", "jane");
        for (int i = 0; i < values.length; i += 2) {
            add(set, prefix, values[i], values[i + 1]);
        }
        return set;
    }

    private static void add(SignatureAttributeSet set, String prefix, String name, String value) {
        var attribute = new SignatureAttribute();
        attribute.setAttributeID(prefix + "_" + name);
        attribute.setValue(value);
        set.getAttributes().add(attribute);
    }

    /** One attribute of an answer in that form. */
    private static String value(SignatureResults results, String wanted) {
        var found = results.getResultAttribute().getAttributes().stream()
            .filter(one -> one.getAttributeID().equals(wanted)).toList();
        check(found.size() == 1, wanted);
        return found.get(0).getValue();
    }

    private static String another(String code) {
        return String.format("%08d", (Integer.parseInt(code) + 1) % 100_000_000);
    }

    private static void succeeded(ResultCodes codes) {
        check(codes.getReturnCodeEnum().equals("RET_SUCCESS"), codes.getStatusCodeEnum());
        check(codes.getStatusCodeEnum().equals("STAT_SUCCESS"), codes.getStatusCodeEnum());
        check(codes.getReturnCode() == 0 && codes.getStatusCode() == 0, codes.getStatusCode());
    }

    private static void failed(ResultCodes codes, String name) {
        check(codes.getReturnCodeEnum().equals("RET_FAILURE"), codes.getReturnCodeEnum());
        check(codes.getStatusCodeEnum().equals(name), codes.getStatusCodeEnum());
    }

    private static void check(boolean holds, Object seen) {
        if (!holds) {
            throw new AssertionError("unexpected: " + seen);
        }
    }
}
