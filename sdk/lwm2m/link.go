package lwm2m

// Link is one entry of a CoRE link format document (RFC 6690): an object, an
// instance or a resource, with attributes such as ver, pmin, ct.
type Link struct {
	Target     string // as written between < and >
	Attributes map[string]string
}

// Path reads the target as an LwM2M path below root, the alternate path of the
// registration ("" or "/" if there is none).
func (l Link) Path(root string) (Path, error) { return linkPath(l, root) }

// EncodeLinks writes links in CoRE link format, attributes in alphabetical order.
func EncodeLinks(links []Link) []byte { return encodeLinks(links) }

// DecodeLinks reads CoRE link format.
func DecodeLinks(payload []byte) ([]Link, error) { return decodeLinks(payload) }
