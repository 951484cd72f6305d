//! Where a patch puts its element in a list.

use meltemi_api::istio::networking::v1alpha3::envoy_filter::patch::Operation;

/// Inserts, replaces or removes by `operation`. `found` tells the elements that the patch names; `None` if it names
/// none: then inserting is at the end of the list that the operation looks to, and nothing is replaced or removed.
pub(super) fn place<T>(
    list: &mut Vec<T>,
    operation: Operation,
    found: Option<&dyn Fn(&T) -> bool>,
    element: impl FnOnce() -> Option<T>,
) {
    let at = found.map(|found| list.iter().position(found));
    let position = match (operation, at) {
        (Operation::Add, _) | (Operation::InsertAfter, None) => Some(list.len()),
        (Operation::InsertFirst, _) | (Operation::InsertBefore, None) => Some(0),
        (Operation::InsertAfter, Some(at)) => at.map(|i| i + 1),
        (Operation::InsertBefore, Some(at)) => at,
        (Operation::Replace, Some(Some(at))) => {
            if let Some(element) = element() {
                list[at] = element;
            }
            return;
        }
        (Operation::Remove, _) => {
            if let Some(found) = found {
                list.retain(|e| !found(e));
            }
            return;
        }
        _ => None,
    };
    if let Some(position) = position {
        list.splice(position..position, element());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(operation: Operation, found: Option<char>) -> String {
        let mut list = vec!['a', 'b', 'c', 'b'];
        let is_found = |c: &char| Some(*c) == found;
        place(&mut list, operation, found.is_some().then_some(&is_found), || Some('X'));
        list.into_iter().collect()
    }

    #[test]
    fn each_operation_has_its_place() {
        for (operation, found, want) in [
            (Operation::Add, Some('b'), "abcbX"),
            (Operation::InsertFirst, Some('c'), "Xabcb"),
            (Operation::InsertBefore, Some('b'), "aXbcb"),
            (Operation::InsertBefore, Some('z'), "abcb"),
            (Operation::InsertBefore, None, "Xabcb"),
            (Operation::InsertAfter, Some('b'), "abXcb"),
            (Operation::InsertAfter, None, "abcbX"),
            (Operation::Replace, Some('b'), "aXcb"),
            (Operation::Replace, None, "abcb"),
            (Operation::Remove, Some('b'), "ac"),
            (Operation::Remove, None, "abcb"),
            (Operation::Merge, Some('b'), "abcb"),
        ] {
            assert_eq!(placed(operation, found), want, "{operation:?} {found:?}");
        }
    }
}
