package trust

import (
	"log/slog"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// FuzzDocument reads metadata of each kind, and does with it what is done before
// anybody knows who has signed it.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2027-01-01T00:00:00Z","targets":{"application/a/1.0.0":{"length":1,"hashes":{"sha256":"00"}},"b":null},"delegations":{"keys":{"k":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"00"}}},"roles":[{"name":"alice","keyids":["k"],"threshold":1,"terminating":true,"paths":["application/a/*"]}]}},"signatures":[{"keyid":"k","sig":"00"}]}`,
		`{"signed":{"_type":"root","version":1,"expires":"2027-01-01T00:00:00Z","keys":{"k":null},"roles":{"root":{"keyids":["k"],"threshold":1},"targets":null}},"signatures":[null]}`,
		`{"signed":{"_type":"timestamp","version":1,"expires":"2027-01-01T00:00:00Z","meta":{"snapshot.json":null},"x-issued":"never"},"signatures":[]}`,
		`{"signed":{"_type":"snapshot","version":1,"expires":"2027-01-01T00:00:00Z","meta":{"alice.json":{"version":1,"hashes":{"sha256":null}}}},"signatures":[]}`,
		`null`, `{"signed":{"_type":"targets"}}`, `{"signed":[]}`,
	} {
		f.Add([]byte(seed))
	}
	r := &Repository{log: slog.New(slog.DiscardHandler), targets: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, err := parse[metadata.RootType](b); err == nil {
			_ = r.checkRoot(m, m.Signed.Version)
			_ = guard(func() error { onlineKeys(&m.Signed); return nil })
		}
		if m, err := parse[metadata.TargetsType](b); err == nil {
			_ = checkDelegations(&m.Signed)
			_, _ = delegationOf(m, "application/a")
			_ = verify(m, "alice", m)
			packagesOf(m)
		}
		if m, err := parse[metadata.TimestampType](b); err == nil {
			_, _ = issued(m.Signed)
		}
		if m, err := parse[metadata.SnapshotType](b); err == nil {
			sameMeta(m.Signed.Meta, m.Signed.Meta)
		}
	})
}
