//! Block I/O: weights and throttles.
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::Planner;
use crate::cgroup::controller::{Controller, Version};

const BLKIO: Controller = Controller::Blkio;

pub(super) fn plan(p: &mut Planner<'_>, block_io: &LinuxBlockIo) {
    weight(p, block_io);
    let throttles: [(
        &'static str,
        &'static str,
        &'static str,
        &Option<Vec<LinuxThrottleDevice>>,
    ); 4] = [
        (
            "device read rate in bytes",
            "blkio.throttle.read_bps_device",
            "rbps",
            block_io.throttle_read_bps_device(),
        ),
        (
            "device write rate in bytes",
            "blkio.throttle.write_bps_device",
            "wbps",
            block_io.throttle_write_bps_device(),
        ),
        (
            "device read rate in operations",
            "blkio.throttle.read_iops_device",
            "riops",
            block_io.throttle_read_iops_device(),
        ),
        (
            "device write rate in operations",
            "blkio.throttle.write_iops_device",
            "wiops",
            block_io.throttle_write_iops_device(),
        ),
    ];
    for (limit, file, key, list) in throttles {
        for device in list.as_deref().unwrap_or_default() {
            let (major, minor, rate) = (device.major(), device.minor(), device.rate());
            let planned = match p.version(BLKIO) {
                Version::V1 => p.write(limit, BLKIO, file, format!("{major}:{minor} {rate}")),
                // 0 takes the limit away in version 1, and is an error in version 2.
                Version::V2 if rate == 0 => {
                    p.write(limit, BLKIO, "io.max", format!("{major}:{minor} {key}=max"))
                }
                Version::V2 => p.write(
                    limit,
                    BLKIO,
                    "io.max",
                    format!("{major}:{minor} {key}={rate}"),
                ),
            };
            if !planned {
                break;
            }
        }
    }
}

/// `io.weight` of version 2 (1 to 10000) for `blkio.weight` of version 1 (10 to 1000).
#[must_use]
pub fn to_io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn weight(p: &mut Planner<'_>, block_io: &LinuxBlockIo) {
    let version = p.version(BLKIO);
    let (own, bfq) = if version == Version::V1 {
        ("blkio.weight", "blkio.bfq.weight")
    } else {
        ("io.weight", "io.bfq.weight")
    };
    if let Some(weight) = block_io.weight().filter(|&w| w != 0) {
        if !(10..=1000).contains(&weight) {
            p.invalid("block I/O weight", weight, "it is between 10 and 1000");
        } else if p.has(BLKIO, bfq) {
            p.put("block I/O weight", BLKIO, bfq, weight);
        } else if version == Version::V1 {
            p.write("block I/O weight", BLKIO, own, weight);
        } else {
            p.write("block I/O weight", BLKIO, own, to_io_weight(weight));
        }
    }
    let leaf = "cgroups since Linux 5.0 have no weight against own sub-groups";
    if block_io.leaf_weight().is_some_and(|w| w != 0) {
        p.unenforceable(
            "block I/O leaf weight",
            "blkio.leaf_weight",
            leaf,
            "it was dropped",
        );
    }
    for device in block_io.weight_device().as_deref().unwrap_or_default() {
        let (major, minor) = (device.major(), device.minor());
        if device.leaf_weight().is_some_and(|w| w != 0) {
            p.unenforceable(
                "block I/O leaf weight of a device",
                "blkio.leaf_weight_device",
                leaf,
                "it was dropped",
            );
        }
        let Some(weight) = device.weight().filter(|&w| w != 0) else {
            continue;
        };
        if !(10..=1000).contains(&weight) {
            p.invalid(
                "block I/O weight of a device",
                weight,
                "it is between 10 and 1000",
            );
            continue;
        }
        let own = if version == Version::V1 {
            "blkio.weight_device"
        } else {
            "io.weight"
        };
        let bfq = if version == Version::V1 {
            "blkio.bfq.weight_device"
        } else {
            "io.bfq.weight"
        };
        let limit = "block I/O weight of a device";
        let planned = if p.has(BLKIO, bfq) {
            p.write(limit, BLKIO, bfq, format!("{major}:{minor} {weight}"))
        } else if version == Version::V1 {
            p.write(limit, BLKIO, own, format!("{major}:{minor} {weight}"))
        } else {
            p.write(
                limit,
                BLKIO,
                own,
                format!("{major}:{minor} {}", to_io_weight(weight)),
            )
        };
        if let (true, Some(write)) = (planned, p.plan.writes.last_mut()) {
            // The disk's I/O scheduler is another one than bfq.
            write.droppable = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::to_io_weight;

    #[test]
    fn weights_cover_the_whole_range() {
        assert_eq!((to_io_weight(10), to_io_weight(1000)), (1, 10_000));
        assert!((10..1000).all(|w| to_io_weight(w) <= to_io_weight(w + 1)));
    }
}
