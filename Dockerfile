# syntax=docker/dockerfile:1

# Builds Caddy with RelayAPI from this checkout: docker build -t relay .
FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
# The tags leave out database drivers of Caddy's certificate authority.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
	go build -trimpath -tags nobadger,nomysql,nopgx -ldflags '-s -w' -o /image/usr/bin/caddy ./cmd/caddy
# The user, and the directories that it may write to. A new volume takes over
# the owner of its directory.
RUN mkdir -p /image/etc/ssl/certs /image/data /image/config /image/run/relayapi /image/tmp \
	&& echo 'relayapi:x:65532:65532::/data:/' >/image/etc/passwd \
	&& echo 'relayapi:x:65532:' >/image/etc/group \
	&& cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
	&& chmod 0700 /image/data /image/config /image/run/relayapi \
	&& chmod 1777 /image/tmp \
	&& chown 65532:65532 /image/data /image/config /image/run/relayapi

# No shell, no libraries and no package manager: Caddy is the only program.
FROM scratch
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.title="RelayAPI" \
	org.opencontainers.image.description="Caddy that lets clients call paid APIs without holding the API key" \
	org.opencontainers.image.source="https://github.com/relayapi/caddy-relayapi" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$REVISION"
COPY --from=build /image/etc /etc
COPY --from=build /image/usr/bin/caddy /usr/bin/caddy
COPY --from=build --chown=65532:65532 --chmod=0700 /image/data /data
COPY --from=build --chown=65532:65532 --chmod=0700 /image/config /config
COPY --from=build --chown=65532:65532 --chmod=0700 /image/run/relayapi /run/relayapi
COPY --from=build --chmod=1777 /image/tmp /tmp
# /data holds the store, keys and certificates; /config the autosaved config.
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
# Anyone who can reach the admin endpoint can mint tokens, so it is a socket that
# only this user can open. The commands find it by the same variable.
ENV CADDY_ADMIN=unix//run/relayapi/admin.sock
# Collects garbage less often, at the cost of some tens of MB; see docs/operations.md.
ENV GOGC=400
VOLUME /data /config
EXPOSE 80 443 443/udp
USER 65532:65532
# Asks the relay's admin endpoint for the state of the store.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --start-interval=1s \
	CMD ["caddy", "relayapi", "status", "--json"]
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
