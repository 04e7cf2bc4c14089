# Caddy with the relay: `docker build -t relay .`
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The tags leave out databases of Caddy's certificate authority that nobody here needs.
RUN CGO_ENABLED=0 go build -trimpath -tags nobadger,nomysql,nopgx -ldflags '-s -w' -o /caddy ./cmd/caddy

FROM alpine:3
RUN apk add --no-cache ca-certificates
COPY --from=build /caddy /usr/bin/caddy
# Store, keys and certificates, and the autosaved config.
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
# Collect garbage less often, for some tens of MB; see docs/operations.md.
ENV GOGC=400
VOLUME /data /config
EXPOSE 80 443 443/udp
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
