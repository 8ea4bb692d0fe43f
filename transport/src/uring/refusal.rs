//! Why a system gives us no ring.

use std::fmt;
use std::io;

/// What the administrator has forbidden: 0 nothing, 1 unprivileged processes, 2 all.
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why io_uring cannot be used here.
#[derive(Debug)]
pub struct Refusal {
    reason: &'static str,
    source: io::Error,
}

impl Refusal {
    pub(crate) fn new(source: io::Error) -> Refusal {
        let disabled = std::fs::read_to_string(DISABLED).unwrap_or_default();
        let reason = reason(source.raw_os_error(), disabled.trim());
        Refusal { reason, source }
    }
}

/// What an error of the system means, where the setting is `disabled`.
fn reason(error: Option<i32>, disabled: &str) -> &'static str {
    match (error, disabled) {
        (Some(libc::EPERM | libc::EACCES), "2") => {
            "kernel.io_uring_disabled is 2, which forbids it to all"
        }
        (Some(libc::EPERM | libc::EACCES), "1") => {
            "kernel.io_uring_disabled is 1, which forbids it to processes without CAP_SYS_ADMIN outside of \
             kernel.io_uring_group"
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a security policy forbids it (seccomp: the default of many container runtimes)"
        }
        (Some(libc::ENOSYS), _) => "this kernel has none, or a seccomp filter hides it",
        (Some(libc::EINVAL) | None, _) => "this kernel's is too old: Linux 6.1 is needed",
        (Some(libc::ENOMEM), _) => {
            "memory is short, or the limit of locked memory too low (RLIMIT_MEMLOCK)"
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => "there are no descriptors left",
        _ => "the system refused",
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "io_uring cannot be used: {}: {}",
            self.reason, self.source
        )
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        io::Error::new(refusal.source.kind(), refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_what_to_change() {
        let cases = [
            (libc::EPERM, "2", "io_uring_disabled is 2"),
            (libc::EPERM, "1", "io_uring_group"),
            (libc::EPERM, "0", "seccomp"),
            (libc::EPERM, "", "seccomp"),
            (libc::ENOSYS, "", "has none"),
            (libc::EINVAL, "0", "6.1"),
            (libc::ENOMEM, "0", "RLIMIT_MEMLOCK"),
            (libc::EMFILE, "0", "descriptors"),
            (libc::EIO, "0", "refused"),
        ];
        for (error, disabled, expected) in cases {
            let reason = reason(Some(error), disabled);
            assert!(reason.contains(expected), "{error} {disabled}: {reason}");
        }
    }
}
