//! Damages states that were written as JSON.

use serde_json::{Value, json};

/// Damages one place: `place` says which, `how` in what way.
pub(crate) fn damage(value: &mut Value, place: usize, how: usize) {
    let mut nth = place % count(value);
    let Some(node) = find(value, &mut nth) else { unreachable!("there are that many") };
    match node {
        Value::Number(number) => {
            let n = number.as_u64().unwrap_or(0);
            let others =
                [0, 1, 2, n.wrapping_add(1), n.wrapping_sub(1), 1 << 32, 1 << 62, u64::MAX];
            *node = others[how % others.len()].into();
        }
        Value::Bool(b) => *b = !*b,
        Value::String(text) => match how % 4 {
            0 => text.truncate(text.len() / 2),
            1 => text.push('0'),
            2 => text.push_str("0a"),
            _ => *text = text.chars().rev().collect(),
        },
        Value::Array(items) if !items.is_empty() => {
            let at = how / 4 % items.len();
            match how % 4 {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.swap(0, at),
                _ => items.clear(),
            }
        }
        Value::Object(members) if !members.is_empty() => {
            let nth = |n: usize| members.keys().nth(n % members.len()).cloned();
            let (Some(one), Some(other)) = (nth(how / 2), nth(how / 4)) else { return };
            if how.is_multiple_of(2) {
                members.remove(&one);
            } else {
                let copy = members[&other].clone();
                members.insert(one, copy);
            }
        }
        Value::Array(items) => items.push(json!(how % 3)),
        Value::Null | Value::Object(_) => *node = json!(how % 3),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

fn find<'a>(value: &'a mut Value, nth: &mut usize) -> Option<&'a mut Value> {
    if *nth == 0 {
        return Some(value);
    }
    *nth -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, nth)),
        Value::Object(members) => members.values_mut().find_map(|member| find(member, nth)),
        _ => None,
    }
}
