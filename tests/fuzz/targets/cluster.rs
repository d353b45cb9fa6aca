//! What comes from the engine of a cluster: messages, records, reports, sealed or as if they had opened.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pollcast::cluster::fuzzing::decode(&Bytes::copy_from_slice(data)));
