//! A page as a tree, built by the HTML parsing algorithm (HTML §13.2), as in a browser without
//! scripts.
//!
//! Nodes are in one list and refer to each other by index, so that a deep page needs no deep stack,
//! neither for walking nor for dropping it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{Attribute, ParseOpts, QualName, local_name, ns, parse_document};

/// The most nodes of one page; a node has about 250 bytes.
const NODES_MAX: usize = 200_000;
/// The bytes that are parsed between two checks of the number of nodes. A page can have far more
/// nodes than tags, because unclosed formatting elements are opened again in each paragraph (HTML
/// §13.2.4.3).
const STEP_BYTES: usize = 64;

/// A parsed page.
pub(super) struct Tree {
    nodes: Vec<Entry>,
}

/// A node's content.
pub(super) enum Node {
    /// The document, or the contents of a template.
    Root,
    /// Character data.
    Text(String),
    Element(Element),
    /// A comment or a processing instruction.
    Comment,
}

/// An element.
pub(super) struct Element {
    name: Rc<QualName>,
    attributes: Vec<Attribute>,
}

struct Entry {
    node: Node,
    parent: Option<usize>,
    children: Vec<usize>,
    /// The root of a template's contents.
    contents: Option<usize>,
}

impl Tree {
    /// Parses a page. `None` if it would have more than [`NODES_MAX`] nodes.
    pub(super) fn parse(source: &str) -> Option<Self> {
        let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..Default::default() };
        let options = ParseOpts { tree_builder, ..Default::default() };
        let mut parser = parse_document(Sink::default(), options);
        let mut rest = source;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(STEP_BYTES));
            parser.process(StrTendril::from_slice(piece));
            if parser.tokenizer.sink.sink.nodes.borrow().len() > NODES_MAX {
                return None;
            }
            rest = after;
        }
        Some(parser.finish())
    }

    /// The index of the document.
    pub(super) const ROOT: usize = 0;

    /// The node at this index.
    pub(super) fn node(&self, at: usize) -> &Node {
        &self.nodes[at].node
    }

    /// The indices of its children, in order.
    pub(super) fn children(&self, at: usize) -> &[usize] {
        &self.nodes[at].children
    }

    /// Every element, including those in templates.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|entry| match &entry.node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }
}

impl Element {
    /// The local name, in lower case for HTML.
    pub(super) fn name(&self) -> &str {
        &self.name.local
    }

    /// Whether it is an element of HTML, and not of another vocabulary such as SVG.
    pub(super) fn is_html(&self) -> bool {
        self.name.ns == ns!(html)
    }

    /// The value of an attribute, without surrounding blanks.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes().find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    }

    /// The attributes, each with its value.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|attribute| (&*attribute.name.local, &*attribute.value))
    }
}

/// The tree that the parser builds.
struct Sink {
    nodes: RefCell<Vec<Entry>>,
    nameless: Rc<QualName>,
}

/// A node's index, with the name that the parser requires.
#[derive(Clone)]
struct Handle {
    at: usize,
    name: Rc<QualName>,
}

impl Default for Sink {
    fn default() -> Self {
        let sink = Self {
            nodes: RefCell::default(),
            nameless: Rc::new(QualName::new(None, ns!(), local_name!(""))),
        };
        sink.add(Node::Root);
        sink
    }
}

impl Sink {
    fn add(&self, node: Node) -> Handle {
        let name = match &node {
            Node::Element(element) => Rc::clone(&element.name),
            _ => Rc::clone(&self.nameless),
        };
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Entry { node, parent: None, children: Vec::new(), contents: None });
        Handle { at: nodes.len() - 1, name }
    }

    /// Inserts `child` among `parent`'s children at index `nth`. Text is appended to the text
    /// before it.
    fn insert(&self, parent: usize, nth: usize, child: NodeOrText<Handle>) {
        let child = match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node.at);
                node.at
            }
            NodeOrText::AppendText(text) => {
                let mut nodes = self.nodes.borrow_mut();
                let before = nth.checked_sub(1).map(|nth| nodes[parent].children[nth]);
                if let Some(before) = before
                    && let Node::Text(known) = &mut nodes[before].node
                {
                    known.push_str(&text);
                    return;
                }
                drop(nodes);
                self.add(Node::Text(text.to_string())).at
            }
        };
        let mut nodes = self.nodes.borrow_mut();
        let nth = nth.min(nodes[parent].children.len());
        nodes[parent].children.insert(nth, child);
        nodes[child].parent = Some(parent);
    }

    fn detach(&self, at: usize) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(parent) = nodes[at].parent.take() {
            nodes[parent].children.retain(|child| *child != at);
        }
    }
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = Tree;
    type ElemName<'a> = &'a QualName;

    fn finish(self) -> Tree {
        Tree { nodes: self.nodes.into_inner() }
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Handle {
        Handle { at: Tree::ROOT, name: Rc::clone(&self.nameless) }
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> &'a QualName {
        &target.name
    }

    fn create_element(
        &self,
        name: QualName,
        attributes: Vec<Attribute>,
        flags: ElementFlags,
    ) -> Handle {
        let handle = self.add(Node::Element(Element { name: Rc::new(name), attributes }));
        if flags.template {
            let contents = self.add(Node::Root).at;
            self.nodes.borrow_mut()[handle.at].contents = Some(contents);
        }
        handle
    }

    fn create_comment(&self, _: StrTendril) -> Handle {
        self.add(Node::Comment)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Handle {
        self.add(Node::Comment)
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        let nth = self.nodes.borrow()[parent.at].children.len();
        self.insert(parent.at, nth, child);
    }

    fn append_based_on_parent_node(
        &self,
        element: &Handle,
        before: &Handle,
        child: NodeOrText<Handle>,
    ) {
        let has_parent = self.nodes.borrow()[element.at].parent.is_some();
        if has_parent {
            self.append_before_sibling(element, child);
        } else {
            self.append(before, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &Handle) -> Handle {
        let contents = self.nodes.borrow()[target.at].contents;
        let at = contents.expect("the parser calls this for templates only");
        Handle { at, name: Rc::clone(&self.nameless) }
    }

    fn same_node(&self, one: &Handle, other: &Handle) -> bool {
        one.at == other.at
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        if let NodeOrText::AppendNode(node) = &child {
            self.detach(node.at);
        }
        let place = {
            let nodes = self.nodes.borrow();
            let parent = nodes[sibling.at].parent.expect("the parser has checked for a parent");
            let children = &nodes[parent].children;
            (parent, children.iter().position(|child| *child == sibling.at).unwrap_or_default())
        };
        self.insert(place.0, place.1, child);
    }

    fn add_attrs_if_missing(&self, target: &Handle, attributes: Vec<Attribute>) {
        let mut nodes = self.nodes.borrow_mut();
        let Node::Element(element) = &mut nodes[target.at].node else { return };
        for attribute in attributes {
            if element.attributes.iter().all(|known| known.name != attribute.name) {
                element.attributes.push(attribute);
            }
        }
    }

    fn remove_from_parent(&self, target: &Handle) {
        self.detach(target.at);
    }

    fn reparent_children(&self, node: &Handle, parent: &Handle) {
        let mut nodes = self.nodes.borrow_mut();
        let children = core::mem::take(&mut nodes[node.at].children);
        for child in &children {
            nodes[*child].parent = Some(parent.at);
        }
        nodes[parent.at].children.extend(children);
    }
}
