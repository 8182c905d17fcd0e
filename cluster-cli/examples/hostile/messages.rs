//! Messages as long as a frame may be, made so that a tree of their values would take gigabytes.

use std::io;

use crate::Outcome;
use crate::channel::RawChannel;

/// A little less than the longest frame.
const LENGTH: usize = 62 << 20;

/// What a structured clone begins with.
const CLONE: &[u8] = b"\xff\x0f";

/// Sends so many messages of that shape, says so on its standard output, and stays. With a further option it
/// begins when it is sent that text.
pub(crate) fn send(channel: &RawChannel, options: &[String]) -> Outcome {
    let [shape, count, signal @ ..] = options else {
        return Err("usage: messages SHAPE COUNT [SIGNAL]".into());
    };
    let is_advanced = shape.starts_with("advanced-");
    if is_advanced {
        channel.write(&framed(&online()))?;
    } else {
        channel.say_online()?;
    }
    let message = match is_advanced {
        true => framed(&advanced(shape)?),
        false => [json(shape)?.into_bytes(), b"\n".to_vec()].concat(),
    };
    if let [signal] = signal {
        channel.read_until(signal.as_bytes())?;
    }
    for _ in 0..count.parse()? {
        channel.write(&message)?;
    }
    drop(message);
    println!("all is sent");
    channel.read_to_end()
}

fn json(shape: &str) -> io::Result<String> {
    let zeros = || format!("[{}0]", "0,".repeat(LENGTH / 2));
    Ok(match shape {
        "zeros" => zeros(),
        "nesting" => format!("{}{}", "[".repeat(LENGTH / 2), "]".repeat(LENGTH / 2)),
        "escapes" => format!("\"{}\"", r"\u0041\ud800\n".repeat(LENGTH / 14)),
        "names" => {
            let names = (0..LENGTH / 12).map(|n| format!("\"{n:07x}\":0"));
            format!("{{{}}}", names.collect::<Vec<_>>().join(","))
        }
        "digits" => format!("0.{}1", "0".repeat(LENGTH)),
        "request" => format!(r#"{{"cmd":"CLUSTER_REQUEST","id":1,"body":{}}}"#, zeros()),
        "handle" => {
            format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{}}}"#, zeros())
        }
        "listen" => format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":0,"addressType":4,"index":0,"seq":1,"data":{}}}"#,
            zeros()
        ),
        "internal" => format!(r#"{{"cmd":"NODE_ODD","data":{}}}"#, zeros()),
        "broken" => zeros().replace(",0]", ",0}"),
        _ => return Err(io::Error::other(format!("there is no shape {shape:?}"))),
    })
}

fn advanced(shape: &str) -> io::Result<Vec<u8>> {
    let list = |tag: u8, unit: &[u8], end: u8, counted: usize| {
        let count = LENGTH / unit.len();
        let end = [vec![end], varint(count * counted)].concat();
        [CLONE, &[tag], &unit.repeat(count), &end].concat()
    };
    Ok(match shape {
        "advanced-set" => list(b'\'', b"_", b',', 1),
        "advanced-map" => list(b';', b"I\0_", b':', 2),
        "advanced-objects" => list(b'\'', b"o{\0", b',', 1),
        "advanced-array" => {
            let count = varint(LENGTH / 2);
            let items = b"I\0".repeat(LENGTH / 2);
            [CLONE, b"A", &count, &items, b"$\0", &count].concat()
        }
        "advanced-internal" => {
            let data = list(b'\'', b"_", b',', 1);
            [CLONE, b"o\"\x03cmd\"\x08NODE_ODD\"\x04data", &data[2..], b"{\x02"].concat()
        }
        _ => return Err(io::Error::other(format!("there is no shape {shape:?}"))),
    })
}

fn online() -> Vec<u8> {
    [CLONE, b"o\"\x03cmd\"\x0cNODE_CLUSTER\"\x03act\"\x06online\"\x03seqI\0{\x03"].concat()
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is shorter than a frame may be");
    [&length.to_be_bytes(), payload].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
