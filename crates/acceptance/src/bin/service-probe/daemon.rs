//! The daemon of the service.

use crate::start::{Start, answer, record, refused, service};
use crate::{fault, numbered};
use running_process::broker::backend_sdk::{AsyncServer, Server};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::wire::SHOUT;
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::exit;
use std::time::Duration;

pub(crate) fn run(arguments: &[OsString]) {
    let start = Start::begin(arguments);
    let (act, argument) = start.act.split_once(':').unwrap_or((&start.act, ""));
    let millis = || Duration::from_millis(argument.parse().unwrap());
    match act {
        // Daemons of several keys serve at the same time.
        "serve" | "keyed" => {}
        "tokio" => return serve_on_tokio(&start),
        "numbered" => return numbered::serve(&start, argument),
        "plain" => return serve_without_service(&start),
        "exit" => {
            eprintln!("the first line\nno such port");
            exit(argument.parse().unwrap());
        }
        "abort" => {
            eprintln!("assertion failed");
            std::process::abort()
        }
        "hang" => fault::hang(),
        "wait" => fault::wait_for(Path::new(argument)),
        "progress" => fault::report_progress(millis()),
        "extend" => fault::extend(millis()),
        "orphan" => fault::leave_lock_to_child(&start.marker),
        "orphan-then-exit" => {
            fault::leave_lock_to_child(&start.marker);
            exit(argument.parse().unwrap());
        }
        "flood" => fault::print_megabytes(argument.parse().unwrap()),
        "leave" => {
            fault::notify("READY=1");
            exit(0);
        }
        "crash" => fault::crash_after_ready(millis()),
        act => panic!("{act}"),
    }
    serve(&start);
}

fn serve(start: &Start) {
    let server = match Server::for_service(&service()) {
        Ok(server) => server,
        Err(error) => refused(start, &error),
    };
    let _alone = (start.act != "keyed")
        .then(|| fault::Alone::claim(&start.marker, || record(&start.events, "second")));
    let events = start.events.clone();
    server
        .serve(SHOUT, |request| Ok(answer(request.payload())))
        .on_ready(move |_| record(&events, "ready"))
        .run()
        .unwrap();
    record(&start.events, "end");
}

fn serve_on_tokio(start: &Start) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = match AsyncServer::for_service(&service()) {
            Ok(server) => server,
            Err(error) => refused(start, &error),
        };
        let _alone = fault::Alone::claim(&start.marker, || record(&start.events, "second"));
        let events = start.events.clone();
        server
            .serve(SHOUT, |request| async move { Ok(answer(request.payload())) })
            .on_ready(move |_| record(&events, "ready"))
            .run()
            .await
            .unwrap();
        record(&start.events, "end");
    });
}

/// Serves as a daemon does that knows nothing of services: at its own socket, with an identity file where clients look.
fn serve_without_service(start: &Start) {
    let root = env::var("RUNNING_PROCESS_SERVICE_ROOT").or_else(|_| env::var("RUNNING_PROCESS_DIR")).unwrap();
    let name = env::var("RUNNING_PROCESS_SERVICE").unwrap();
    let directory = Path::new(&root).join(&name);
    let socket = directory.join("own").to_str().unwrap().to_owned();
    let _alone = fault::Alone::claim(&start.marker, || record(&start.events, "second"));
    Server::bind(Endpoint::unix_socket(name, socket).unwrap())
        .unwrap()
        .identity_file(directory.join("identity.json"))
        .serve(SHOUT, |request| Ok(answer(request.payload())))
        .run()
        .unwrap();
}
