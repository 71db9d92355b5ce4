//! Parameters in the form of attributes: a list of pairs of an id and a value.
//!
//! Every attribute that the vendor publishes for a command is accepted. Some have no meaning here,
//! and are not used.

use countersign_core::spec::Operation;

use super::body::{
    Data, NamedUser, ParameterElements, RequestedAttributes, What, bad, body, elements, fields,
    scan_only, shown, whole,
};
use super::invalid::BadParameter;
use super::xml::{Element, Space};

/// The attributes of `genRequest` that are used.
pub(super) const GEN_REQUEST: [&str; 7] = [
    "SIGNFLD_COMPONENT_TYPE",
    "SIGNFLD_USERID",
    "SIGNFLD_DOMAIN",
    "SIGNFLD_SERIAL_NO",
    "SIGNFLD_AUTH_TYPE",
    "SIGNFLD_TRANSACTION_TITLE",
    "SIGNFLD_REQUEST_BODY",
];
/// The attributes of `genRequest` that are accepted and not used: a device has one key for codes.
pub(super) const GEN_REQUEST_UNUSED: [&str; 2] =
    ["SIGNFLD_CRYPTO_APP_INDEX", "SIGNFLD_CRYPTO_APP_NAME"];
/// The attributes of `authSignature` that are used.
pub(super) const AUTH_SIGNATURE: [&str; 6] = [
    "SIGNFLD_COMPONENT_TYPE",
    "SIGNFLD_USERID",
    "SIGNFLD_DOMAIN",
    "SIGNFLD_SERIAL_NO",
    "SIGNFLD_REQUEST_KEY",
    "SIGNFLD_SIGNATURE",
];
/// The attributes of `authSignature` that are accepted and not used. The request key says what is
/// signed, and a code depends neither on a time nor on a count of events.
pub(super) const AUTH_SIGNATURE_UNUSED: [&str; 11] = [
    "SIGNFLD_DATA_FIELD_1",
    "SIGNFLD_DATA_FIELD_2",
    "SIGNFLD_DATA_FIELD_3",
    "SIGNFLD_DATA_FIELD_4",
    "SIGNFLD_DATA_FIELD_5",
    "SIGNFLD_DATA_FIELD_6",
    "SIGNFLD_DATA_FIELD_7",
    "SIGNFLD_DATA_FIELD_8",
    "SIGNFLD_DEFERRED_DATETIME",
    "SIGNFLD_DEFERRED_EVENT_VALUE",
    "SIGNFLD_REQUEST_CONFIRM_CODE",
];

/// `genRequest`.
pub(super) fn gen_request(command: &Element) -> Result<RequestedAttributes, BadParameter> {
    let given = ParameterElements::of(command, &["attributeSet", "dataFieldList"])?;
    let mut list = AttributeList::of(given.get("attributeSet"), &GEN_REQUEST, &GEN_REQUEST_UNUSED)?;
    let component = list.required("SIGNFLD_COMPONENT_TYPE")?;
    let id = list.required("SIGNFLD_USERID")?;
    let user = NamedUser { id, domain: list.take("SIGNFLD_DOMAIN") };
    scan_only("SIGNFLD_AUTH_TYPE", list.take("SIGNFLD_AUTH_TYPE").as_deref())?;
    list.at_most_one("SIGNFLD_CRYPTO_APP_INDEX", "SIGNFLD_CRYPTO_APP_NAME")?;
    let title = list.take("SIGNFLD_TRANSACTION_TITLE").unwrap_or_default();
    let data = match (list.take("SIGNFLD_REQUEST_BODY"), given.get("dataFieldList")) {
        (Some(_), None) if !title.is_empty() => {
            return bad("SIGNFLD_TRANSACTION_TITLE must come with dataFieldList");
        }
        (Some(hex), None) => body("SIGNFLD_REQUEST_BODY", &hex)?,
        (None, Some(list)) => fields(title, list)?,
        _ => {
            return bad("exactly one of SIGNFLD_REQUEST_BODY and dataFieldList must be given");
        }
    };
    let serial = list.take("SIGNFLD_SERIAL_NO");
    let what = prepare(user, serial, data);
    Ok(RequestedAttributes { component, what })
}

fn prepare(user: NamedUser, serial: Option<String>, data: Data) -> What {
    What::Prepare { operation: Operation::Sign, user, serial, data }
}

/// `authSignature`.
pub(super) fn auth_signature(command: &Element) -> Result<RequestedAttributes, BadParameter> {
    // Earlier versions of the vendor's authSignature require a dataFieldList, so callers send one
    // with any content. It is ignored: the key determines what is signed.
    let given = ParameterElements::of(command, &["attributeSet", "dataFieldList"])?;
    let set = given.get("attributeSet");
    let mut list = AttributeList::of(set, &AUTH_SIGNATURE, &AUTH_SIGNATURE_UNUSED)?;
    let component = list.required("SIGNFLD_COMPONENT_TYPE")?;
    let id = list.required("SIGNFLD_USERID")?;
    let (key, signature) =
        (list.required("SIGNFLD_REQUEST_KEY")?, list.required("SIGNFLD_SIGNATURE")?);
    let user = NamedUser { id, domain: list.take("SIGNFLD_DOMAIN") };
    let serial = list.take("SIGNFLD_SERIAL_NO");
    let operation = Operation::Sign;
    let what = What::Complete { operation, user, serial, key, signature };
    Ok(RequestedAttributes { component, what })
}

/// The attributes of a command.
pub(super) struct AttributeList(Vec<(String, String)>);

impl AttributeList {
    /// Reads a list, without the attributes that are marked as null. Each must be one of these.
    pub(super) fn of(
        set: Option<&Element>,
        used: &[&str],
        unused: &[&str],
    ) -> Result<Self, BadParameter> {
        let list = set.map(attributes).transpose()?.unwrap_or_default();
        let is_known = |id: &str| used.contains(&id) || unused.contains(&id);
        match list.iter().find(|(id, _)| !is_known(id)) {
            Some((id, _)) => bad(&format!("{} is not an attribute of this command", shown(id))),
            None => Ok(Self(list)),
        }
    }

    /// The value of an attribute; `None` if it is blank.
    pub(super) fn take(&mut self, id: &str) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| name == id)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn required(&mut self, id: &str) -> Result<String, BadParameter> {
        self.take(id).ok_or_else(|| BadParameter(format!("{id} is required")))
    }

    pub(super) fn at_most_one(&self, one: &str, other: &str) -> Result<(), BadParameter> {
        let is_given = |id: &str| self.0.iter().any(|(name, _)| name == id);
        if is_given(one) && is_given(other) {
            return bad(&format!("only one of {one} and {other} may be given"));
        }
        Ok(())
    }
}

/// The pairs of id and value, without those that are marked as null.
fn attributes(set: &Element) -> Result<Vec<(String, String)>, BadParameter> {
    let mut list: Vec<(String, String)> = Vec::new();
    for attribute in elements(set)? {
        if attribute.space != Space::Unqualified || attribute.name != "attributes" {
            return bad(&format!("{} must be attributes", shown(&attribute.name)));
        }
        let attribute =
            ParameterElements::of(attribute, &["attributeID", "value", "attributeOptions"])?;
        let id = attribute.required("attributeID")?;
        if list.iter().any(|(known, _)| *known == id) {
            return bad(&format!("{} is given twice", shown(&id)));
        }
        let mut is_null = false;
        let options = attribute.get("attributeOptions").map(elements).transpose()?;
        for option in options.unwrap_or_default() {
            let is_set = matches!(option.text(), Some("true" | "1"));
            match &*option.name.to_ascii_lowercase() {
                "null" => is_null |= is_set,
                // Requests are never logged, and no command here searches by attributes, so these
                // options change nothing.
                "masked" | "negative" => {}
                _ if !is_set => {}
                _ => return bad("attributeOptions must be NULL, MASKED or NEGATIVE"),
            }
        }
        let value = match attribute.get("value") {
            Some(value) => whole(value)?,
            None if is_null => String::new(),
            None => return bad(&format!("the value of {} is required", shown(&id))),
        };
        if !is_null {
            list.push((id, value));
        }
    }
    Ok(list)
}
