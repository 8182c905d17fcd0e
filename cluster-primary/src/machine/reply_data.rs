//! A server's custom data, on channels that may not be able to carry it.

use cluster_proto::env::Serialization;
use cluster_proto::{Advanced, ClusterBody, Codec, Json, Message, Value};

/// Leaves a server's data out of the answer to a listen where the channel's encoding cannot carry it: the worker that
/// gave the data may have a channel that can, and the others must be able to listen all the same.
pub(super) fn drop_unencodable(body: &mut ClusterBody, serialization: Serialization) {
    let ClusterBody::ListenReply(reply) = body else { return };
    if reply.data == Value::Null {
        return;
    }
    let codec: &dyn Codec = match serialization {
        Serialization::Advanced => &Advanced,
        _ => &Json,
    };
    let message = Message::cluster(0, None, ClusterBody::ListenReply(reply.clone()));
    if codec.encode(&message, &mut Vec::new()).is_err() {
        reply.data = Value::Null;
    }
}

#[cfg(test)]
mod tests {
    use cluster_proto::ListenReply;

    use super::*;

    #[test]
    fn data_that_a_channel_cannot_carry_is_left_out_of_the_answer_there() {
        let reply = |data: Value| {
            let reply = ListenReply { errno: None, key: "k".into(), data, sockname: None };
            ClusterBody::ListenReply(Box::new(reply))
        };
        let [json, advanced] = [Serialization::Json, Serialization::Advanced];
        for (data, lost_by) in [
            (Value::from("a ticket's key"), None),
            (Value::buffer(*b"a ticket's key"), Some(json)),
            (Value::from(u64::MAX), Some(advanced)),
        ] {
            for serialization in [json, advanced] {
                let lost = lost_by == Some(serialization);
                let expected = reply(if lost { Value::Null } else { data.clone() });
                let mut body = reply(data.clone());
                drop_unencodable(&mut body, serialization);
                assert_eq!(body, expected);
            }
        }
    }
}
