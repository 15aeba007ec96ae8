//! What a process has to tell of a scope, by what it has read of it.

use std::time::Duration;

use super::tree::Tree;
use crate::clock::Time;
use crate::quota::Quota;
use crate::store::book::Book;

fn permits(count: u32) -> Quota {
    Quota::new(Vec::new(), Some(count)).unwrap()
}

#[test]
fn what_another_process_has_configured_alike_is_not_configured_again() {
    let mut tree = Tree::new(Book::new(Duration::from_mins(10)));
    let id = tree.register("shared", &permits(3), false, Time::ZERO);
    assert_eq!(tree.cold_scopes(), [id]);
    let theirs = tree.first_state(id).unwrap().encode();
    assert!(tree.take_over(id, theirs));
    assert!(tree.cold_scopes().is_empty());
}

#[test]
fn what_another_process_has_configured_otherwise_is_configured_anew() {
    let mut tree = Tree::new(Book::new(Duration::from_mins(10)));
    let id = tree.register("shared", &permits(3), false, Time::ZERO);
    let theirs = tree.first_state(id).unwrap().encode();
    tree.configure(id, &permits(4), Time::ZERO);
    assert!(tree.take_over(id, theirs));
    assert_eq!(tree.cold_scopes(), [id]);
}
