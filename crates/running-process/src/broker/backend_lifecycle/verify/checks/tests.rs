//! The verdict of each check on what the system may tell, also what it does not tell on the machine of the tests.

use super::*;
use crate::broker::protocol::Endpoint;
use std::io::ErrorKind;

fn identity() -> DaemonProcess {
    let endpoint = Endpoint { namespace_id: "test".into(), path: "/nowhere".into() };
    let mut identity = DaemonProcess::current_process(endpoint, None).unwrap();
    identity.boot_id = "this boot".into();
    identity.origin.as_mut().unwrap().pid_namespace = Some(7);
    identity
}

fn failed<T>(kind: ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

#[test]
fn only_a_system_without_boots_leaves_the_boot_unchecked() {
    let judge = |current| judge_boot(&identity(), current);
    assert_eq!(judge(Ok("this boot".into())).unwrap(), (StepVerdict::Proven, "this boot".to_owned()));
    let other = judge(Ok("another".into())).unwrap_err();
    assert!(matches!(other, ProbeError::OtherBoot { current, .. } if current == "another"));
    assert_eq!(judge(failed(ErrorKind::Unsupported)).unwrap().0, StepVerdict::Unchecked);
    let denied = judge(failed(ErrorKind::PermissionDenied)).unwrap_err();
    assert!(matches!(denied, ProbeError::Stream(error) if error.kind() == ErrorKind::PermissionDenied));
}

#[test]
fn a_namespace_is_compared_if_both_are_known() {
    let mut unknown = identity();
    unknown.origin.as_mut().unwrap().pid_namespace = None;
    assert_eq!(judge_namespace(&identity(), Some(7)).unwrap().0, StepVerdict::Proven);
    assert!(matches!(judge_namespace(&identity(), Some(8)), Err(ProbeError::OtherNamespace { .. })));
    assert_eq!(judge_namespace(&identity(), None).unwrap().0, StepVerdict::Unchecked);
    assert_eq!(judge_namespace(&unknown, Some(7)).unwrap().0, StepVerdict::Unchecked);
}

#[test]
fn a_listener_of_another_namespace_or_that_cannot_be_examined_is_told_as_such() {
    let reason = |theirs, own| reason_of_listener(theirs, &own, 5);
    let other = reason(Err(PeerError::OtherNamespace), Ok(Some(1)));
    assert!(matches!(other, Some(ProbeError::OtherNamespace { pid: 5 })));
    let other = reason(Ok(Ok(Some(2))), Ok(Some(1)));
    assert!(matches!(other, Some(ProbeError::OtherNamespace { pid: 5 })));
    assert!(reason(Ok(Ok(Some(1))), Ok(Some(1))).is_none());
    assert!(reason(Ok(Ok(Some(1))), failed(ErrorKind::PermissionDenied)).is_none());
    assert!(reason(Ok(failed(ErrorKind::NotFound)), Ok(Some(1))).is_none());
    let denied = reason(Ok(failed(ErrorKind::PermissionDenied)), Ok(Some(1)));
    assert!(matches!(denied, Some(ProbeError::NotInspectable { pid: 5, .. })));
}

#[test]
fn a_start_time_is_left_unchecked_only_where_a_lenient_caller_may_not_read_it() {
    let judge = |found, policy| judge_start_time(5, 100, found, &policy);
    assert_eq!(judge(Ok(100), Policy::default()).unwrap().0, StepVerdict::Proven);
    for policy in [Policy::default(), Policy::lenient()] {
        let reused = judge(Ok(101), policy.clone());
        assert!(matches!(reused, Err(ProbeError::ReusedPid { pid: 5, recorded: 100, found: 101 })));
        let gone = judge(failed(ErrorKind::NotFound), policy);
        assert!(matches!(gone, Err(ProbeError::Gone { pid: 5, how: Absence::DuringProbe })));
    }
    let denied = || failed(ErrorKind::PermissionDenied);
    assert!(matches!(judge(denied(), Policy::default()), Err(ProbeError::NotInspectable { pid: 5, .. })));
    assert_eq!(judge(denied(), Policy::lenient()).unwrap().0, StepVerdict::Unchecked);
}

#[test]
fn a_listener_that_has_ended_is_the_maker_of_an_inherited_socket_or_an_impostor() {
    let process = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    let judge = |recorded: bool, listener| {
        let mut identity = identity();
        identity.origin.as_mut().unwrap().inherited_listener = recorded;
        let policy = Policy { inherited_listener: listener, ..Policy::default() };
        judge_listener(Err(PeerError::Gone { pid: 9 }), &identity, &process, &policy)
    };
    for (recorded, listener) in [
        (true, InheritedListener::IfRecorded),
        (true, InheritedListener::Accept),
        (false, InheritedListener::Accept),
    ] {
        let (listener, level, verdict, _) = judge(recorded, listener).unwrap();
        assert_eq!((listener, level), (Listener::Inherited { by: None }, ProofLevel::Claimed));
        assert_eq!(verdict, StepVerdict::Unchecked);
    }
    for (recorded, listener) in [
        (false, InheritedListener::IfRecorded),
        (false, InheritedListener::Refuse),
        (true, InheritedListener::Refuse),
    ] {
        let impostor = judge(recorded, listener).unwrap_err();
        assert!(
            matches!(impostor, ProbeError::Impostor { role: PeerRole::Listener, pid: 9, .. }),
            "{impostor:?}"
        );
    }
}

#[test]
fn a_writer_that_is_not_named_is_refused_where_the_system_names_writers_or_the_listener_is_another_process() {
    let judge = |names, level, listener| judge_writers(names, level, listener, &identity());
    for listener in [Listener::Own, Listener::Unknown, Listener::Inherited { by: None }] {
        assert!(matches!(judge(true, ProofLevel::Claimed, listener), Err(ProbeError::Stream(_))));
        for names in [true, false] {
            assert_eq!(judge(names, ProofLevel::Named, listener).unwrap().0, StepVerdict::Proven);
        }
    }
    let inherited = judge(false, ProofLevel::Claimed, Listener::Inherited { by: None });
    assert!(matches!(inherited, Err(ProbeError::Policy(PolicyRule::InheritedListener))));
    let unknown = judge(false, ProofLevel::Claimed, Listener::Unknown).unwrap();
    assert_eq!(unknown, (StepVerdict::Unchecked, "this system does not name the writer".to_owned()));
}
