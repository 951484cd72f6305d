//! `docs/compatibility.md` says of every field, annotation, label and environment variable what becomes of it.

use std::collections::BTreeSet;
use std::{env, fs};

use anyhow::Result;
use meltemi_tests::compat::table::{Status, Table};
use meltemi_tests::compat::{fields, names, page, repository, tables};

#[test]
fn every_field_of_the_api_has_its_row() -> Result<()> {
    let problems = fields::differences(&fields::kinds()?, &Table::read_all(&tables().join("kinds"))?);
    assert!(problems.is_empty(), "tests/compat/kinds:\n{}", problems.join("\n"));
    Ok(())
}

#[test]
fn the_code_names_all_annotations_said_to_be_honoured_and_none_that_is_not_listed() -> Result<()> {
    let table = Table::read(&tables().join("annotations.txt"))?;
    let named = names::annotations()?;
    let said = in_effect(&table).filter(|n| n.contains("istio.io/"));
    let lies: Vec<_> = said.filter(|n| !named.contains(n)).collect();
    assert!(
        lies.is_empty(),
        "tests/compat/annotations.txt: honoured, it says, but no code names them: {lies:?}"
    );
    let listed = table.names();
    let missing: Vec<_> = named.iter().filter(|n| !listed.contains_key(n.as_str())).collect();
    assert!(missing.is_empty(), "tests/compat/annotations.txt lacks what the code names: {missing:?}");
    Ok(())
}

#[test]
fn the_variables_said_to_be_honoured_are_those_that_are_read() -> Result<()> {
    let table = Table::read(&tables().join("variables.txt"))?;
    assert_same(&in_effect(&table).collect(), &names::variables()?, "tests/compat/variables.txt");
    Ok(())
}

#[test]
fn the_page_is_what_the_tables_make() -> Result<()> {
    let page = page::page(
        &fields::kinds()?,
        &Table::read_all(&tables().join("kinds"))?,
        &Table::read(&tables().join("annotations.txt"))?,
        &Table::read(&tables().join("variables.txt"))?,
    );
    let path = repository().join("docs/compatibility.md");
    if env::var_os("MELTEMI_UPDATE").is_some() {
        fs::write(&path, &page)?;
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/compatibility.md is not what tests/compat makes; run \
         MELTEMI_UPDATE=1 cargo test -p meltemi-tests --test compatibility"
    );
    Ok(())
}

/// The names of a table that the code must know.
fn in_effect(table: &Table) -> impl Iterator<Item = String> {
    let rows = table.names().into_values();
    rows.filter(|r| matches!(r.status, Status::Honoured | Status::Differs)).map(|r| r.name.clone())
}

fn assert_same(said: &BTreeSet<String>, found: &BTreeSet<String>, table: &str) {
    let only_said: Vec<_> = said.difference(found).collect();
    let only_found: Vec<_> = found.difference(said).collect();
    assert!(
        only_said.is_empty() && only_found.is_empty(),
        "{table} says of these that they are honoured, and the code does not know them: {only_said:?}; \
         the code knows these, and the table does not say so: {only_found:?}"
    );
}
