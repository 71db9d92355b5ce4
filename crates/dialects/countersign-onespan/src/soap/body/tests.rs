use super::attributes::{AUTH_SIGNATURE, AUTH_SIGNATURE_UNUSED, GEN_REQUEST, GEN_REQUEST_UNUSED};
use super::*;

mod page;

const HEAD: &str = "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' \
    xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
    xmlns:xsd='http://www.w3.org/2001/XMLSchema' \
    xmlns:sig='http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature'>";

fn find(body: &str) -> Result<SoapCall, NotSoap> {
    SoapCall::find(format!("{HEAD}<s:Header/><s:Body>{body}</s:Body></s:Envelope>").as_bytes())
}

fn asked(command: &str, parameters: &str) -> Result<What, String> {
    let call = find(&format!("<sig:{command}>{parameters}</sig:{command}>")).unwrap();
    call.asked().map(|asked| asked.what).map_err(|BadParameter(sentence)| sentence)
}

fn sign(rest: &str) -> Result<What, String> {
    let user = "<componentType>Shop</componentType><user><userID>jane</userID></user>";
    asked("authSignatureRequest", &format!("{user}{rest}"))
}

fn listed(attributes: &[(&str, &str)]) -> String {
    let one = |(id, value): &(&str, &str)| {
        format!(
            "<attributes><value xsi:type='xsd:string'>{value}</value>\
             <attributeID>{id}</attributeID></attributes>"
        )
    };
    let all: String = attributes.iter().map(one).collect();
    format!("<attributeSet xsi:type='sig:SignatureAttributeSet'>{all}</attributeSet>")
}

#[test]
fn what_is_no_soap_is_told_from_a_command_that_is_not_known() {
    let envelope = |space: &str| format!("<s:Envelope xmlns:s='{space}'><s:Body/></s:Envelope>");
    let message = |text: &str| SoapCall::find(text.as_bytes()).unwrap_err();
    assert_eq!(message("<a/>"), NotSoap::NotEnvelope);
    assert_eq!(
        message(&envelope("http://www.w3.org/2003/05/soap-envelope")),
        NotSoap::OtherVersion
    );
    assert_eq!(message(&envelope(xml::SOAP)), NotSoap::NotOneCommand);
    assert_eq!(message(&format!("{HEAD}</s:Envelope>")), NotSoap::NotEnvelope);
    let two = "<sig:authSignature/><sig:authSignature/>";
    assert_eq!(find(two).unwrap_err(), NotSoap::NotOneCommand);
    for unknown in [
        "<sig:AuthSignature/>",
        "<authSignature/>",
        "<authSignature xmlns='urn:other'/>",
        "<sig:genSignature/>",
    ] {
        assert_eq!(find(unknown).unwrap_err(), NotSoap::UnknownCommand, "{unknown}");
    }
}

#[test]
fn a_header_is_ignored_unless_it_must_be_understood_here() {
    let with = |attributes: &str| {
        let header = format!("<s:Header><a:b xmlns:a='urn:a' {attributes}/></s:Header>");
        SoapCall::find(
            format!("{HEAD}{header}<s:Body><sig:authSignature/></s:Body></s:Envelope>").as_bytes(),
        )
    };
    assert!(with("").is_ok());
    assert!(with("s:mustUnderstand='0'").is_ok());
    assert!(with("s:mustUnderstand='1' s:actor='urn:somebody'").is_ok());
    assert_eq!(with("s:mustUnderstand='1'").unwrap_err(), NotSoap::Mandatory);
}

#[test]
fn a_signature_request_carries_a_list_or_a_body_or_names_a_key() {
    let user = NamedUser { id: "jane".into(), domain: None };
    let list = "<push><title>Pay </title><dataFieldList><dataField><key>To</key>\
        <value xsi:type='xsd:string'> Bob </value></dataField></dataFieldList></push>";
    let rows = vec![("To".into(), " Bob ".into())];
    let operation = Operation::Sign;
    let data = Data::Fields("Pay ".into(), rows);
    let what = What::Sign { operation, user: user.clone(), serial: None, data };
    assert_eq!(sign(list).unwrap(), what, "what people read is not tidied");
    let body =
        sign("<serialNumber>CSN0000000-1</serialNumber><push><dataBody> 00fF </dataBody></push>");
    let serial = Some("CSN0000000-1".into());
    let data = Data::Body(vec![0, 255]);
    assert_eq!(body.unwrap(), What::Sign { operation, user: user.clone(), serial, data });
    let key = sign("<serialNumber/><push xsi:nil='true'/><requestKey>0000000042</requestKey>");
    let (serial, key_named) = (None, "0000000042".to_owned());
    assert_eq!(key.unwrap(), What::Await { operation, user, serial, key: key_named });
}

#[test]
fn a_login_is_pushed_with_words_or_without_and_never_with_a_body() {
    let user = NamedUser { id: "jane".into(), domain: None };
    let (operation, serial) = (Operation::Login, None);
    let login = |rest: &str| {
        let head = "<componentType>Shop</componentType><user><userID>jane</userID></user>";
        asked("authUserRequest", &format!("{head}{rest}"))
    };
    for (push, title) in [
        ("<push/>", "Log in?"),
        ("<push><title/></push>", "Log in?"),
        ("<push><title>To the bank?</title></push>", "To the bank?"),
    ] {
        let data = Data::Fields(title.into(), Vec::new());
        let what = What::Sign { operation, user: user.clone(), serial: None, data };
        assert_eq!(login(push).unwrap(), what);
    }
    let key = "0000000042".to_owned();
    let waits = login("<challengeKey>0000000042</challengeKey>");
    assert_eq!(waits.unwrap(), What::Await { operation, user, serial, key });
    for wrong in [
        "",
        "<push/><challengeKey>0000000042</challengeKey>",
        "<requestKey>0000000042</requestKey>",
        "<push><dataBody>00</dataBody></push>",
    ] {
        assert!(login(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn two_choices_and_none_are_refused() {
    let list = "<dataFieldList><dataField><key>a</key><value>b</value></dataField></dataFieldList>";
    for wrong in [
        String::new(),
        format!("<push>{list}</push><requestKey>0000000042</requestKey>"),
        format!("<push>{list}<dataBody>00</dataBody></push>"),
        "<push/>".to_owned(),
        "<push><title>Pay</title></push>".to_owned(),
        "<push><title>Pay</title><dataBody>00</dataBody></push>".to_owned(),
        "<push><dataFieldList/></push>".to_owned(),
        "<push><dataBody>0</dataBody></push>".to_owned(),
        "<push><dataBody></dataBody></push>".to_owned(),
    ] {
        assert!(sign(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_parameter_in_another_case_or_namespace_or_place_is_refused_by_name() {
    let key = "<requestKey>1</requestKey>";
    for (wrong, sentence) in [
        ("<RequestKey>1</RequestKey>", "RequestKey is not a parameter"),
        ("<sig:requestKey>1</sig:requestKey>", "requestKey must be in no namespace"),
        ("<requestKey>1</requestKey><requestKey>1</requestKey>", "requestKey is given twice"),
        ("<requestKey><a/></requestKey>", "requestKey must be a text"),
        ("<signature>1</signature>", "signature is not a parameter"),
    ] {
        let said = sign(wrong).unwrap_err();
        assert!(said.starts_with(sentence), "{said}");
    }
    assert_eq!(
        sign(&format!("words {key}")).unwrap_err(),
        "authSignatureRequest must hold elements only"
    );
    let nobody = asked("authSignatureRequest", key).unwrap_err();
    assert_eq!(nobody, "componentType is required");
}

#[test]
fn a_list_has_a_bound() {
    let list = |count| {
        let field = "<dataField><key>a</key><value/></dataField>".repeat(count);
        sign(&format!("<push><dataFieldList>{field}</dataFieldList></push>"))
    };
    assert!(list(ROWS_MAX).is_ok());
    assert!(list(ROWS_MAX + 1).is_err());
    let body = |bytes| sign(&format!("<push><dataBody>{}</dataBody></push>", "00".repeat(bytes)));
    assert!(body(CONTENT_BYTES_MAX).is_ok());
    assert!(body(CONTENT_BYTES_MAX + 1).is_err());
}

#[test]
fn both_styles_ask_the_same() {
    let elements = "<componentType>Shop</componentType><user><userID>jane</userID>\
        <domain>acme</domain></user><authType>SCAN</authType><title>Pay</title>\
        <dataFieldList><dataField><key>To</key><value>Bob</value></dataField></dataFieldList>";
    let given = [
        ("SIGNFLD_COMPONENT_TYPE", "Shop"),
        ("SIGNFLD_USERID", "jane"),
        ("SIGNFLD_DOMAIN", "acme"),
        ("SIGNFLD_AUTH_TYPE", "SCAN"),
        ("SIGNFLD_TRANSACTION_TITLE", "Pay"),
    ];
    let fields =
        "<dataFieldList><dataField><key>To</key><value>Bob</value></dataField></dataFieldList>";
    let attributes = format!("{}{fields}", listed(&given));
    assert_eq!(asked("genRequest", elements), asked("genRequest", &attributes));
    let elements = "<componentType>Shop</componentType><user><userID>jane</userID></user>\
        <requestKey>0000000042</requestKey><signature>12345678</signature>";
    let attributes = listed(&[
        ("SIGNFLD_USERID", "jane"),
        ("SIGNFLD_REQUEST_KEY", "0000000042"),
        ("SIGNFLD_SIGNATURE", "12345678"),
        ("SIGNFLD_COMPONENT_TYPE", "Shop"),
    ]);
    assert_eq!(asked("authSignature", elements), asked("authSignature", &attributes));
}

#[test]
fn every_published_attribute_is_accepted() {
    let with = |command, ids: &[&str]| {
        let more = ids.iter().filter(|id| !id.ends_with("_CRYPTO_APP_NAME"));
        let given: Vec<_> = more
            .map(|id| match *id {
                "SIGNFLD_AUTH_TYPE" => (*id, "SCAN"),
                "SIGNFLD_REQUEST_BODY" => (*id, "00ff"),
                "SIGNFLD_TRANSACTION_TITLE" => (*id, ""),
                _ => (*id, "1"),
            })
            .collect();
        asked(command, &listed(&given))
    };
    let made = with("genRequest", &[&GEN_REQUEST[..], &GEN_REQUEST_UNUSED].concat()).unwrap();
    assert!(matches!(made, What::Prepare { serial: Some(_), .. }), "{made:?}");
    let given = with("authSignature", &[&AUTH_SIGNATURE[..], &AUTH_SIGNATURE_UNUSED].concat());
    let given = given.unwrap();
    assert!(matches!(given, What::Complete { serial: Some(_), .. }), "{given:?}");
    let both = ["SIGNFLD_CRYPTO_APP_INDEX", "SIGNFLD_CRYPTO_APP_NAME"].map(|id| (id, "1"));
    let known = [("SIGNFLD_COMPONENT_TYPE", "Shop"), ("SIGNFLD_USERID", "jane")];
    let both = asked("genRequest", &listed(&[&known[..], &both].concat())).unwrap_err();
    assert!(both.starts_with("only one of SIGNFLD_CRYPTO_APP_INDEX"), "{both}");
}

#[test]
fn each_option_of_an_attribute_is_understood() {
    let list = [
        ("SIGNFLD_COMPONENT_TYPE", "Shop"),
        ("SIGNFLD_USERID", "jane"),
        ("SIGNFLD_REQUEST_BODY", "00ff"),
        ("SIGNFLD_SERIAL_NO", "CSN0000001-1"),
    ];
    let with = |option: &str| {
        let options = format!(
            "<attributeID>SIGNFLD_SERIAL_NO</attributeID><attributeOptions><{option}>true\
             </{option}></attributeOptions>"
        );
        let plain = "<attributeID>SIGNFLD_SERIAL_NO</attributeID>";
        asked("genRequest", &listed(&list).replace(plain, &options))
    };
    for (option, is_given) in [("NEGATIVE", true), ("MASKED", true), ("NULL", false)] {
        let Ok(What::Prepare { serial, .. }) = with(option) else { panic!("{option}") };
        assert_eq!(serial.is_some(), is_given, "{option}");
    }
    assert_eq!(with("OTHER").unwrap_err(), "attributeOptions must be NULL, MASKED or NEGATIVE");
}

#[test]
fn an_attribute_that_is_not_published_is_refused_by_name() {
    let known = [("SIGNFLD_COMPONENT_TYPE", "Shop"), ("SIGNFLD_USERID", "jane")];
    let body = ("SIGNFLD_REQUEST_BODY", "00ff");
    let with = |more: &[(&str, &str)]| asked("genRequest", &listed(&[&known[..], more].concat()));
    assert!(with(&[body]).is_ok());
    for (more, sentence) in [
        (("SIGNFLD_DATA_FIELD_1", "x"), "SIGNFLD_DATA_FIELD_1 is not an attribute"),
        (("signfld_domain", "x"), "signfld_domain is not an attribute"),
        (("SIGNFLD_USERID", "x"), "SIGNFLD_USERID is given twice"),
        (("SIGNFLD_AUTH_TYPE", "PUSH"), "SIGNFLD_AUTH_TYPE must be SCAN"),
    ] {
        let said = with(&[body, more]).unwrap_err();
        assert!(said.starts_with(sentence), "{said}");
    }
    let twice = asked("genRequest", &listed(&known).repeat(2)).unwrap_err();
    assert_eq!(twice, "attributeSet is given twice");
    let list = listed(&known).replace(
        "SignatureAttributeSet'>",
        "SignatureAttributeSet'><attributes>\
        <attributeID>SIGNFLD_DOMAIN</attributeID><attributeOptions><NULL>true</NULL>\
        </attributeOptions></attributes>",
    );
    let list = format!(
        "{list}<dataFieldList><dataField><key/><value>b</value></dataField></dataFieldList>"
    );
    assert!(matches!(
        asked("genRequest", &list),
        Ok(What::Prepare { user: NamedUser { domain: None, .. }, .. })
    ));
}

/// A command of the vendor's namespace of logins.
fn of_logins(command: &str, attributes: &[(&str, &str)]) -> Result<What, String> {
    let list = listed(attributes).replace("attributeSet", "credentialAttributeSet");
    let list = list.replace("sig:SignatureAttributeSet", "xsd:any");
    let call =
        find(&format!("<aut:{command} xmlns:aut='{}'>{list}</aut:{command}>", xml::AUTHENTICATION));
    call.unwrap().asked().map(|asked| asked.what).map_err(|BadParameter(sentence)| sentence)
}

#[test]
fn the_vendors_example_of_a_secure_challenge_is_a_login_of_that_device() {
    let example = [
        ("CREDFLD_PASSWORD_FORMAT", "0"),
        ("CREDFLD_USERID", "user1"),
        ("CREDFLD_SERIAL_NO", "VDS0000001-1"),
        ("CREDFLD_CHALLENGE_MESSAGE", "test message"),
        ("CREDFLD_COMPONENT_TYPE", "Authentication with Secure Channel Sample Client"),
    ];
    let user = NamedUser { id: "user1".into(), domain: None };
    let (operation, serial) = (Operation::Login, Some("VDS0000001-1".to_owned()));
    let data = Data::Fields("test message".into(), Vec::new());
    let what = What::Prepare { operation, user: user.clone(), serial: serial.clone(), data };
    assert_eq!(of_logins("getSecureChallenge", &example).unwrap(), what);
    let title = ("CREDFLD_TRANSACTION_TITLE", "Bank");
    let titled = of_logins("getSecureChallenge", &[&example[..], &[title]].concat()).unwrap();
    let rows = vec![(String::new(), "test message".to_owned())];
    let data = Data::Fields("Bank".into(), rows);
    assert_eq!(titled, What::Prepare { operation, user, serial, data });
    let body = ("CREDFLD_REQUEST_BODY", "00ff");
    let both = of_logins("getSecureChallenge", &[&example[..], &[body]].concat()).unwrap_err();
    assert!(both.starts_with("CREDFLD_REQUEST_BODY must come without"), "{both}");
}

#[test]
fn a_login_is_ended_with_a_code_awaited_by_its_key_or_pushed() {
    let head = [
        ("CREDFLD_COMPONENT_TYPE", "SIGNATURE"),
        ("CREDFLD_USERID", "jane"),
        ("CREDFLD_PASSWORD_FORMAT", "0"),
    ];
    let with = |more: &[(&str, &str)]| of_logins("authUser", &[&head[..], more].concat());
    let (operation, serial) = (Operation::Login, None);
    let user = NamedUser { id: "jane".into(), domain: None };
    let (key, signature) = ("0000000042".to_owned(), "12345678".to_owned());
    let challenge = ("CREDFLD_CHALLENGE_KEY", "0000000042");
    for code in ["CREDFLD_PASSWORD", "CREDFLD_DP_RESPONSE"] {
        let (user, key, signature) = (user.clone(), key.clone(), signature.clone());
        let what = What::Complete { operation, user, serial: None, key, signature };
        assert_eq!(with(&[challenge, (code, "12345678")]).unwrap(), what);
    }
    let waits = What::Await { operation, user: user.clone(), serial: None, key };
    assert_eq!(with(&[challenge]).unwrap(), waits);
    let data = Data::Fields("To the bank?".into(), Vec::new());
    let pushed = What::Sign { operation, user, serial, data };
    let message = ("CREDFLD_CHALLENGE_MESSAGE", "To the bank?");
    assert_eq!(with(&[("CREDFLD_AUTH_TYPE", "PUSH"), message]).unwrap(), pushed);
    for (more, sentence) in [
        (&[][..], "CREDFLD_CHALLENGE_KEY is required"),
        (&[("CREDFLD_PASSWORD", "12345678")], "CREDFLD_CHALLENGE_KEY is required"),
        (&[challenge, ("CREDFLD_STATIC_PASSWORD", "x")], "CREDFLD_STATIC_PASSWORD is not an"),
        (&[("CREDFLD_AUTH_TYPE", "OTHER")], "CREDFLD_AUTH_TYPE must be PUSH or SCAN"),
    ] {
        let said = with(more).unwrap_err();
        assert!(said.starts_with(sentence), "{said}");
    }
    let other = of_logins("authUser", &[head[0], head[1], ("CREDFLD_PASSWORD_FORMAT", "3")]);
    assert!(other.unwrap_err().starts_with("CREDFLD_PASSWORD_FORMAT must be 0 or 1"));
}

#[test]
fn a_command_of_one_namespace_is_unknown_in_the_other() {
    let login = "<authSignature xmlns='http://www.vasco.com/IdentikeyServer/IdentikeyTypes/\
        Authentication'/>";
    for unknown in [login, "<sig:authUser/>", "<sig:getSecureChallenge/>"] {
        assert_eq!(find(unknown).unwrap_err(), NotSoap::UnknownCommand, "{unknown}");
    }
}

/// PHP's `SoapClient` keeps one command of a name, the first of the description.
#[test]
fn each_command_has_a_name_of_its_own_and_the_description_has_each_once() {
    let description = include_str!("../onespan.wsdl");
    for command in SoapCommand::ALL {
        let operation = format!("<wsdl:operation name=\"{}\">", command.as_str());
        // Once in a port type, and once in its binding.
        assert_eq!(description.matches(&operation).count(), 2, "{operation}");
    }
    assert_eq!(description.matches("<wsdl:operation ").count(), 2 * SoapCommand::ALL.len());
}
