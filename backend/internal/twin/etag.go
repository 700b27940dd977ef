package twin

import (
	"encoding/base64"
	"encoding/binary"
)

// ETag names the present tags and desired properties: base64 of an 8-byte big-endian counter, as Azure has it.
func (t Twin) ETag() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, t.Revision))
}
