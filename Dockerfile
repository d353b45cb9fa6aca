# pollcast in a small image without a shell:
#
#   docker build -t pollcast .
#   docker run -p 8080:8080 -v "$PWD/conf/pollcast.yaml:/etc/pollcast/pollcast.yaml:ro" pollcast
#
# In the container 127.0.0.1 is the container: name the upstream's servers as it can reach them, and let user 65532 read
# the file. Needs BuildKit (the default since Docker 23) for the cache mounts: crates and what was compiled of them
# stay on the building machine, so that a change in src/ compiles pollcast alone.

# Both stages are Debian 12: the binary uses the C library of its image.
FROM rust:1-slim-bookworm AS build
# cmake, a C compiler and make build the compression and TLS libraries; OpenSSL is the system's, and in both images.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake gcc libc6-dev libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The cache mount is gone after the step: the binary is copied out of it. Its line tables stay in target/.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin pollcast \
    && strip -o /pollcast target/release/pollcast

# The C library, libgcc, OpenSSL and the certificates of public authorities; no shell, no package manager; runs as user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /pollcast /usr/local/bin/pollcast
# 8080: clients. 9090: operators; publish it to them only.
EXPOSE 8080 9090
# The configuration's admin.address: port 9090, on 127.0.0.1 or on all addresses.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/pollcast", "ready", "--admin", "127.0.0.1:9090"]
# SIGTERM drains: give it more time than drain.delay and drain.window together (docker stop --time 45).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pollcast"]
CMD ["run", "--config", "/etc/pollcast/pollcast.yaml"]
