package lwm2m

import (
	"fmt"
	"slices"
)

// Format is a CoAP Content-Format id.
type Format uint16

// The formats this package reads and writes.
const (
	FormatText      Format = 0     // text/plain, one value
	FormatLink      Format = 40    // application/link-format: registration and discovery
	FormatOpaque    Format = 42    // application/octet-stream, one opaque value
	FormatCBOR      Format = 60    // application/cbor, one value
	FormatSenMLJSON Format = 110   // application/senml+json
	FormatSenMLCBOR Format = 112   // application/senml+cbor
	FormatTLV       Format = 11542 // application/vnd.oma.lwm2m+tlv
	FormatJSON      Format = 11543 // application/vnd.oma.lwm2m+json, of LwM2M 1.0
)

// String names the format.
func (f Format) String() string {
	switch f {
	case FormatText:
		return "text"
	case FormatLink:
		return "link format"
	case FormatOpaque:
		return "opaque"
	case FormatCBOR:
		return "CBOR"
	case FormatSenMLJSON:
		return "SenML JSON"
	case FormatSenMLCBOR:
		return "SenML CBOR"
	case FormatTLV:
		return "TLV"
	case FormatJSON:
		return "LwM2M JSON"
	}
	return fmt.Sprintf("content format %d", uint16(f))
}

// Encode writes records in a format. All records must lie under base, the path
// of the request. Text, opaque and CBOR hold exactly one record. The error is an
// [*Error] of code 4.06 if the format cannot hold these records.
func Encode(f Format, base Path, records []Record) ([]byte, error) {
	if i := slices.IndexFunc(records, func(r Record) bool { return !isValueUnder(base, r.Path) }); i >= 0 {
		return nil, fmt.Errorf("cannot encode %v: it is not a resource under %v", records[i].Path, base)
	}
	switch f {
	case FormatText, FormatOpaque, FormatCBOR:
		return encodeSingle(f, records)
	case FormatTLV:
		return encodeTLV(base, records)
	case FormatSenMLJSON:
		return encodeSenMLJSON(base, records)
	case FormatSenMLCBOR:
		return encodeSenMLCBOR(base, records)
	case FormatJSON:
		return encodeJSON(base, records)
	}
	return nil, Errorf(CodeNotAcceptable, "%v is not supported", f)
}

// Decode reads a payload that belongs to base, the path of the request. The kinds
// of values come from the model; a resource it does not know gives opaque values
// in TLV, text in text, and what the payload says in CBOR and SenML. Every path
// of the result is base or lies under it, and is at least a resource. The error
// is an [*Error] of code 4.00, or 4.15 for an unknown format.
func Decode(f Format, base Path, payload []byte, model Model) ([]Record, error) {
	var records []Record
	var err error
	switch f {
	case FormatText, FormatOpaque, FormatCBOR:
		records, err = decodeSingle(f, base, payload, model)
	case FormatTLV:
		records, err = decodeTLV(base, payload, model)
	case FormatSenMLJSON:
		records, err = decodeSenMLJSON(payload, model)
	case FormatSenMLCBOR:
		records, err = decodeSenMLCBOR(payload, model)
	case FormatJSON:
		records, err = decodeJSON(payload, model)
	default:
		return nil, Errorf(CodeUnsupportedFormat, "%v is not supported", f)
	}
	if err != nil {
		return nil, Errorf(CodeBadRequest, "cannot decode %v: %v", f, err)
	}
	for _, r := range records {
		if !isValueUnder(base, r.Path) {
			return nil, Errorf(CodeBadRequest, "cannot decode %v: %v is not a resource under %v", f, r.Path, base)
		}
	}
	return records, nil
}

func isValueUnder(base, p Path) bool { return base.Contains(p) && p.Depth() >= DepthResource }
