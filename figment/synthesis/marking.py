"""Every image says, in a form that machines read, that an AI made it and from which recipe (IPTC, XMP).

https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia
"""

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" \
xmlns:dc="http://purl.org/dc/elements/1.1/" Iptc4xmpExt:DigitalSourceType="{source_type}" dc:identifier="{image_id}"/>
</rdf:RDF></x:xmpmeta><?xpacket end="r"?>"""


def xmp_packet(image_id: str) -> bytes:
    """The XMP packet of a generated image: its IPTC digital source type, and its ``image_id`` as ``dc:identifier``."""
    return PACKET.format(source_type=SOURCE_TYPE, image_id=image_id).encode()
