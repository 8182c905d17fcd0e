//! Small crates with one fault each.

use std::collections::BTreeSet;
use std::path::Path;

use super::check;
use super::exceptions::{Exceptions, OfCrate};
use super::finding::Finding;
use super::rules::Rules;
use super::source::Tree;
use super::suggest::suggestion;

fn tree(files: &[(&str, &str)]) -> Tree {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new("c/src").join(name) == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    Tree::read("c", &read).expect("the crate is read")
}

fn findings(rules: &str, files: &[(&str, &str)]) -> Vec<Finding> {
    check::findings("c", &tree(files), &Rules::parse(rules).expect("the rules are read"), &[])
}

/// The messages, with only the first line of each.
fn messages(rules: &str, files: &[(&str, &str)]) -> Vec<String> {
    let findings = findings(rules, files);
    findings
        .iter()
        .map(|finding| finding.to_string().lines().next().unwrap_or_default().to_owned())
        .collect()
}

#[track_caller]
fn assert_starts(messages: &[String], expected: &[&str]) {
    let fits = |(message, start): (&String, &&str)| message.starts_with(start);
    assert!(
        messages.len() == expected.len() && messages.iter().zip(expected).all(fits),
        "{messages:#?}"
    );
}

const LOW_HIGH: &str = r#"c = ["low", "high"]"#;

const LIB: (&str, &str) = ("lib.rs", "mod high;\nmod low;\npub use low::Low;\n");

#[test]
fn what_keeps_to_the_rules_has_no_findings() {
    let high = "use crate::low::Low;\npub struct High(Low);\n";
    let files = [LIB, ("low.rs", "pub struct Low;"), ("high.rs", high)];
    assert_starts(&messages(LOW_HIGH, &files), &[]);
}

#[test]
fn a_dependency_that_is_not_allowed_is_found_however_it_is_written() {
    for low in [
        "use crate::high::High;\npub struct Low;",
        "use super::high::{self, High as Other};\npub struct Low;",
        "use crate::high;\npub struct Low(high::High);",
        "pub struct Low(\ncrate::high::High);",
        "pub struct Low;\nfn f() { super::high::High::new(); }",
        "pub struct Low;\nfn f() { println!(\"{}\", crate::high::High.0); }",
        "use super::*;\npub struct Low(high::High);",
        "pub struct Low;\nfn f() { use crate::high::*; let _ = High; }",
        "pub struct Low;\nfn f() { use crate::high; high::High.f(); }",
        "use serde::Serialize;\n#[derive(Serialize)] #[serde(with = \"crate::high::High\")] pub struct Low;",
    ] {
        let files = [LIB, ("low.rs", low), ("high.rs", "pub struct High;")];
        let found = messages(LOW_HIGH, &files);
        let [message] = &found[..] else { panic!("{low}: {found:#?}") };
        assert!(message.starts_with("c/src/low.rs:"), "{message}");
        assert!(message.contains("`low` uses `High` of `high`; by \"c\""), "{message}");
    }
}

#[test]
fn a_dependency_through_a_re_export_is_one_on_the_file_that_defines_the_item() {
    let files = [
        ("lib.rs", "mod facade;\nmod high;\nmod low;\n"),
        ("high.rs", "pub struct High;"),
        ("facade.rs", "pub use crate::high::High;"),
        ("low.rs", "\nuse crate::facade::High;"),
    ];
    let expected = ["c/src/low.rs:2: dependency not allowed: `low` uses `High` of `high`"];
    assert_starts(&messages(r#"c = ["low", "high", "facade"]"#, &files), &expected);
}

#[test]
fn modules_of_one_line_do_not_use_each_other_and_a_pair_may() {
    let files = [
        ("lib.rs", "mod high;\nmod low;\n"),
        ("low.rs", "pub struct Low(crate::high::High);"),
        ("high.rs", "pub enum High { Some(Box<crate::low::Low>), None }"),
    ];
    let expected = [
        "c/src/high.rs:1: dependency not allowed: `high` uses `Low`",
        "c/src/low.rs:1: dependency not allowed: `low` uses `High`",
    ];
    assert_starts(&messages(r#"c = ["low high"]"#, &files), &expected);
    assert_starts(&messages(r#"c = ["low+high"]"#, &files), &[]);
}

#[test]
fn a_line_can_list_all_that_its_modules_may_use() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "pub struct B;"),
        ("c.rs", "pub struct C(crate::a::A, crate::b::B);"),
    ];
    assert_starts(&messages(r#"c = ["a b", "c: a b"]"#, &files), &[]);
    let expected = ["c/src/c.rs:1: dependency not allowed: `c` uses `B` of `b`"];
    assert_starts(&messages(r#"c = ["a b", "c: a"]"#, &files), &expected);
}

#[test]
fn a_folder_has_rules_of_its_own() {
    let files = [
        ("lib.rs", "mod codec;\n"),
        ("codec/mod.rs", "mod bun;\nmod json;\npub use json::Json;\npub trait Codec {}"),
        ("codec/json.rs", "use super::Codec;\nuse super::bun::Bun;\npub struct Json;"),
        ("codec/bun.rs", "pub struct Bun;"),
    ];
    let rules = r#""c/codec" = ["self", "json", "bun"]"#;
    let expected =
        ["c/src/codec/json.rs:2: dependency not allowed: `codec/json` uses `Bun` of `codec/bun`"];
    assert_starts(&messages(rules, &files), &expected);
    // What the folder's own file defines is for those within it only if the rules say so.
    let rules = r#""c/codec" = ["bun", "json"]"#;
    let expected = [
        "c/src/codec/json.rs:1: dependency not allowed: `codec/json` uses `Codec` of `codec/self`",
    ];
    assert_starts(&messages(rules, &files), &expected);
}

#[test]
fn rules_that_allow_a_cycle_are_refused() {
    let refused = |rules: &str| Rules::parse(rules).err().unwrap_or_default();
    assert!(refused(r#"c = ["a: b", "b"]"#).contains("`b`, which is not in a line before it"));
    assert!(refused(r#"c = ["a b: a"]"#).contains("`a`, which is not in a line before it"));
    assert!(refused(r#"c = ["a", "b", "a"]"#).contains("`a` stands there twice"));
    assert!(refused(r#"c = ["a+b+c"]"#).contains("no more than two"));
    assert_eq!(refused(r#"c = ["a", "b: a", "c: b"]"#), "");
}

#[test]
fn modules_and_rules_without_each_other_are_found() {
    let files = [LIB, ("low.rs", "pub struct Low;"), ("high.rs", "")];
    let expected = [
        "architecture.toml:1: \"c\" lists `gone`, which does not exist",
        "c/src/high.rs:1: `high` is not listed: add it to \"c\"",
    ];
    assert_starts(&messages(r#"c = ["low", "gone"]"#, &files), &expected);
    assert_starts(&messages("", &files), &["c/src/high.rs:1: architecture.toml has no \"c\""]);
}

#[test]
fn a_crate_in_the_folder_of_another_has_its_own_rules() {
    let files = [("lib.rs", "")];
    let rules = Rules::parse(r#""c/inner" = ["a"]"#).expect("the rules are read");
    let found = |members: &[String]| check::findings("c", &tree(&files), &rules, members).len();
    assert_eq!(found(&["c".into()]), 1);
    assert_eq!(found(&["c".into(), "c/inner".into()]), 0);
}

#[test]
fn an_upward_import_is_found_with_the_path_to_write_instead() {
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use other::Other;\nuse std::fmt;\n");
    let folder = ("b/mod.rs", "mod c;\nmod d;\npub use d::D;");
    for (c, path, by, instead) in [
        ("\nuse crate::A;", "crate::A", "the root of the crate", "crate::a::A"),
        ("\nuse crate::{\nA};", "crate::A", "the root of the crate", "crate::a::A"),
        (
            "\nfn f(_: super::super::A) {}",
            "super::super::A",
            "the root of the crate",
            "crate::a::A",
        ),
        ("\nuse super::D;", "super::D", "`b`", "super::d::D"),
        ("\nuse crate::b::D;", "crate::b::D", "`b`", "super::d::D"),
        ("\nuse super::*;\nfn f(_: D) {}", "D", "`b`", "super::d::D"),
        (
            "\nfn f() { crate::A::new(1) }",
            "crate::A::new",
            "the root of the crate",
            "crate::a::A::new",
        ),
        ("\nuse crate::Other;", "crate::Other", "the root of the crate", "other::Other"),
        ("\nuse crate::fmt;", "crate::fmt", "the root of the crate", "std::fmt"),
    ] {
        let files =
            [lib, folder, ("a.rs", "pub struct A;"), ("b/c.rs", c), ("b/d.rs", "pub struct D;")];
        let found = messages("c = [\"a\", \"b\"]\n\"c/b\" = [\"d\", \"c\"]", &files);
        let [message] = &found[..] else { panic!("{c}: {found:#?}") };
        assert!(message.starts_with("c/src/b/c.rs:"), "{message}");
        let told = format!(
            "upward import: `{path}` leads through {by}, which has it from elsewhere: write `{instead}`"
        );
        assert!(message.contains(&told), "{message}");
    }
}

#[test]
fn what_a_folder_hides_is_imported_from_the_folder() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\npub use a::A;"),
        ("a/mod.rs", "mod inner;\npub use inner::A;"),
        ("a/inner.rs", "pub struct A;"),
        ("b.rs", "use crate::A;"),
    ];
    let found = messages(r#"c = ["a", "b"]"#, &files);
    assert!(found.len() == 1 && found[0].ends_with("write `crate::a::A`"), "{found:#?}");
}

#[test]
fn what_the_parent_defines_is_no_upward_import() {
    let files = [
        ("lib.rs", "mod gate;"),
        ("gate.rs", "mod state;\npub struct Gate { open: bool }"),
        (
            "gate/state.rs",
            "use super::Gate;\nimpl Gate { pub fn state(&self) -> bool { self.open } }",
        ),
    ];
    assert_starts(&messages("", &files), &[]);
}

#[test]
fn a_cycle_of_more_than_two_files_is_found_with_a_way_around() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;"),
        ("a.rs", "use crate::b::B;\npub struct A(B);"),
        ("b.rs", "\npub struct B(Vec<super::c::C>);"),
        ("c.rs", "pub struct C;\nfn f() { crate::a::A::new() }"),
    ];
    let cycle = findings(r#"c = ["a b c"]"#, &files)
        .iter()
        .map(ToString::to_string)
        .find(|message| message.contains("cycle"));
    let cycle = cycle.expect("there is one");
    assert!(
        cycle.starts_with(
            "c/src/a.rs:1: dependency cycle of 3 files: c/src/a.rs c/src/b.rs c/src/c.rs; break it"
        ),
        "{cycle}"
    );
    let way = "\n    c/src/a.rs:1: `B` of c/src/b.rs\n    c/src/b.rs:2: `C` of c/src/c.rs\n    c/src/c.rs:2: `A` of c/src/a.rs";
    assert!(cycle.ends_with(way), "{cycle}");
}

#[test]
fn a_file_that_is_declared_twice_is_one_file() {
    let declared = "#[cfg(feature = \"a\")]\npub mod a;\n#[cfg(not(feature = \"a\"))]\nmod a;";
    let tree = tree(&[("lib.rs", declared), ("a.rs", "pub struct A;")]);
    assert_eq!(tree.files.len(), 2);
}

#[test]
fn two_files_that_use_each_other_are_no_such_cycle_and_three_pairs_are() {
    let two = [
        ("lib.rs", "mod a;\nmod b;\nmod c;"),
        ("a.rs", "pub struct A(Box<crate::b::B>);"),
        ("b.rs", "pub struct B(Option<crate::a::A>);"),
        ("c.rs", ""),
    ];
    assert_starts(&messages(r#"c = ["a+b c"]"#, &two), &[]);
    let mut three = two;
    three[2].1 = "pub struct B(Option<crate::a::A>, Option<crate::c::C>);";
    three[3].1 = "pub struct C(Box<crate::b::B>);";
    let found = messages(r#"c = ["a+b c"]"#, &three);
    assert!(found.iter().any(|message| message.contains("cycle of 3 files")), "{found:#?}");
}

/// The methods of one type call each other, without any path.
#[test]
fn methods_that_call_each_other_across_files_are_dependencies() {
    let files = [
        ("lib.rs", "mod m;"),
        ("m/mod.rs", "mod a;\nmod b;\npub struct M { part: Part }\npub struct Part;"),
        ("m/a.rs", "use super::M;\nimpl M { fn a(&mut self) {\n self.b(); } }"),
        ("m/b.rs", "use super::M;\nimpl M { fn b(&self) {} }\nimpl super::Part { fn p(&self) {} }"),
    ];
    let rules = r#""c/m" = ["self", "a", "b"]"#;
    let expected = ["c/src/m/a.rs:3: dependency not allowed: `m/a` uses `M::b` of `m/b`"];
    assert_starts(&messages(rules, &files), &expected);
    for call in ["Self::b(self)", "debug!(\"{}\", self.b())", "self.part.p()", "M::b(self)"] {
        let a = format!("use super::M;\nimpl M {{ fn a(&self) {{ {call}; }} }}");
        let mut files = files;
        files[2].1 = &a;
        let found = messages(rules, &files);
        assert!(found.len() == 1 && found[0].contains("of `m/b`"), "{call}: {found:#?}");
    }
    let parameter = "use super::M;\nfn a(m: &mut M) { m.b() }";
    let mut files = files;
    files[2].1 = parameter;
    assert_starts(
        &messages(rules, &files),
        &["c/src/m/a.rs:2: dependency not allowed: `m/a` uses `M::b`"],
    );
}

#[test]
fn a_type_whose_fields_several_other_files_use_is_found() {
    let rules = r#""c/m" = ["self", "a", "b"]"#;
    let with = |a: &str, b: &str| {
        let files = [
            ("lib.rs", "mod m;"),
            (
                "m/mod.rs",
                "mod a;\nmod b;\npub struct M { n: u8, pub(super) open: u8, pub all: u8 }",
            ),
            ("m/a.rs", a),
            ("m/b.rs", b),
        ];
        findings(rules, &files).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = "use super::M;\nimpl M { fn a(&self) -> u8 { self.n } }";
    for other in [
        "use super::M;\nimpl M { fn b(&mut self) { self.n += 1; } }",
        "use super::M;\nimpl M { fn b(&mut self) { self.open += 1; } }",
        "use super::M;\nfn b(m: &M) -> u8 { m.n }",
        "use super::M;\nfn b(m: &M) { let M { n, .. } = m; }",
        "use super::M;\nimpl Default for M { fn default() -> Self { Self { n: 0, open: 0, all: 0 } } }",
        "use super::M;\nimpl M { fn b(&self) { assert_eq!(self.n, 0); } }",
    ] {
        let found = with(one, other);
        let [message] = &found[..] else { panic!("{other}: {found:#?}") };
        assert!(
            message.starts_with("c/src/m/mod.rs:1: the fields of `m::M` are used in 2 other files"),
            "{message}"
        );
        assert!(message.ends_with("\n    c/src/m/a.rs:2\n    c/src/m/b.rs:2"), "{message}");
    }
    // One may: the state that an upgrade keeps, say. And what is public is for others.
    for other in [
        "",
        "use super::M;\nimpl M { fn b(&self) -> u8 { self.all } }",
        "use super::M;\nfn b(m: &M) -> u8 { m.open }",
    ] {
        assert_eq!(with(one, other), Vec::<String>::new(), "{other}");
    }
}

#[test]
fn tests_may_use_anything() {
    let low = "pub struct Low;\n#[cfg(test)]\nmod tests { use super::super::high::High; }\n\
        #[cfg(all(test, unix))] use crate::High;\n#[cfg(test)] fn f(_: crate::high::High) {}\n\
        impl Low { #[cfg(test)] fn g() { crate::high::h() } }";
    let files = [LIB, ("low.rs", low), ("high.rs", "pub struct High;\npub fn h() {}")];
    assert_starts(&messages(LOW_HIGH, &files), &[]);
    let not_only = low.replace("all(test", "any(test");
    let files = [files[0], ("low.rs", &not_only), files[2]];
    assert_starts(
        &messages(LOW_HIGH, &files),
        &["c/src/low.rs:4: `crate::High` cannot be resolved"],
    );
}

#[test]
fn a_file_for_each_system_can_stand_for_one_module() {
    let lib =
        "#[cfg(linux)] mod sys;\n#[cfg(not(linux))] #[path = \"elsewhere.rs\"] mod sys;\nmod user;";
    let files = [
        ("lib.rs", lib),
        ("sys.rs", "pub fn here() {}"),
        ("elsewhere.rs", "pub fn there() {}"),
        ("user.rs", "use crate::sys::here;\nuse crate::sys::there;"),
    ];
    assert_starts(&messages(r#"c = ["sys", "user"]"#, &files), &[]);
    let expected = [
        "c/src/user.rs:1: dependency not allowed: `user` uses `here` of `sys`",
        "c/src/user.rs:2: dependency not allowed: `user` uses `there` of `sys`",
    ];
    assert_starts(&messages(r#"c = ["user", "sys"]"#, &files), &expected);
}

#[test]
fn a_path_that_cannot_be_resolved_is_told() {
    let files = [LIB, ("low.rs", "pub struct Low;"), ("high.rs", "use crate::low::Gone;")];
    assert_starts(
        &messages(LOW_HIGH, &files),
        &["c/src/high.rs:1: `crate::low::Gone` cannot be resolved"],
    );
}

#[test]
fn a_file_that_is_not_rust_or_not_there_is_told() {
    let read = |path: &Path| (path == Path::new("c/src/lib.rs")).then(|| "mod gone;".to_owned());
    let missing = Tree::read("c", &read).err();
    assert_eq!(missing.as_deref(), Some("c/src/gone/mod.rs: cannot be read"));
    let broken = Tree::read("c", &|_: &Path| Some("\nfn {".to_owned())).err().unwrap_or_default();
    assert!(broken.starts_with("c/src/lib.rs:2: "), "{broken}");
    assert!(Tree::read("c", &|_: &Path| None).is_err());
}

/// Findings of each kind that has exceptions.
fn faulty(uses: &str) -> Vec<Finding> {
    let low = format!("{uses}\npub struct Low;");
    let files = [
        LIB,
        ("low.rs", low.as_str()),
        ("high.rs", "use crate::Low;\npub struct High;\npub struct Other;"),
    ];
    findings(LOW_HIGH, &files)
}

#[test]
fn exceptions_cover_what_is_known_and_never_more() {
    let source = Path::new("c/src");
    let (before, more) =
        (faulty("use crate::high::High;"), faulty("use crate::high::{High, Other};"));
    let known = OfCrate::recorded(&before, source);
    let uncovered = |findings: &[Finding]| {
        let now = OfCrate::recorded(findings, source);
        let keys = findings.iter().filter_map(|finding| finding.key(source));
        keys.filter(|(key, _)| !known.covers(key, &now)).count()
    };
    assert_eq!(before.len(), 2);
    assert_eq!(uncovered(&before), 0);
    // All of its kind and place are told, since it cannot be known which is new.
    assert_eq!(uncovered(&more), 2);
    let grown = known.grown(&OfCrate::recorded(&more, source));
    assert_eq!(grown, ["dependencies not allowed: 1 before, 2 now"]);
}

#[test]
fn exceptions_are_tightened_and_written_so_that_they_can_be_read() {
    let source = Path::new("c/src");
    let more = OfCrate::recorded(&faulty("use crate::high::{High, Other};"), source);
    let fewer = OfCrate::recorded(&faulty("use crate::high::High;"), source);
    assert!(more.tightened(&fewer) == fewer && fewer.tightened(&more) == fewer);
    assert!(more.tightened(&OfCrate::default()) == OfCrate::default());
    let mut exceptions = Exceptions::default();
    exceptions.set("c", more.clone());
    let text = exceptions.text().expect("it is written");
    assert!(text.contains("\"low -> high\" = 2\n"), "{text}");
    assert!(Exceptions::parse(&text).expect("it is read").of_crate("c") == more);
    exceptions.set("c", OfCrate::default());
    assert!(!exceptions.has("c"));
}

#[test]
fn a_known_cycle_may_lose_files_and_gain_none() {
    let source = Path::new("c/src");
    let ring = |names: &[&str]| {
        let lib: String = names.iter().map(|name| format!("mod {name};\n")).collect();
        let next = names.iter().cycle().skip(1);
        let texts: Vec<_> = names
            .iter()
            .zip(next)
            .map(|(name, next)| {
                (format!("{name}.rs"), format!("pub fn {name}() {{ crate::{next}::{next}() }}"))
            })
            .collect();
        let mut files = vec![("lib.rs", lib.as_str())];
        files.extend(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let findings = check::findings("c", &tree(&files), &Rules::parse("").expect("none"), &[]);
        let cycle = findings.into_iter().find(|finding| finding.to_string().contains("cycle"));
        vec![cycle.expect("there is one")]
    };
    let known = OfCrate::recorded(&ring(&["p", "q", "r", "s"]), source);
    let covered = |findings: &[Finding]| {
        let now = OfCrate::recorded(findings, source);
        findings
            .iter()
            .filter_map(|finding| finding.key(source))
            .all(|(key, _)| known.covers(&key, &now))
    };
    assert!(covered(&ring(&["p", "q", "r", "s"])) && covered(&ring(&["p", "q", "s"])));
    assert!(!covered(&ring(&["p", "q", "t"])));
    let smaller = OfCrate::recorded(&ring(&["p", "q", "s"]), source);
    assert!(known.tightened(&smaller) == smaller);
}

#[test]
fn the_suggestion_is_what_the_crate_keeps_to() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("a.rs", "pub struct A(Box<crate::b::B>);"),
        ("b.rs", "pub struct B(Option<crate::a::A>);"),
        ("c.rs", "pub struct C(crate::b::B);"),
        ("d.rs", "pub struct D;"),
    ];
    let suggested = suggestion("c", &tree(&files));
    assert_eq!(suggested, "\"c\" = [\n    \"a+b d\",\n    \"c\",\n]\n\n");
    assert_starts(&messages(&suggested, &files), &[]);
    let lines: BTreeSet<_> = suggested.lines().collect();
    assert!(lines.len() > 2);
}
