-- 0065 pre: by which platforms what a town forwards has passed, so that a circle of platforms is refused (decision 0129).

-- Each platform that forwards: its id, as the definitions that it sends name it.
ALTER TABLE federation_uplink ADD COLUMN platform_id uuid NOT NULL DEFAULT gen_random_uuid();

-- Each platform that receives: ids of the platforms that the content of a device has passed through.
ALTER TABLE federation_source ADD COLUMN platforms text[] NOT NULL DEFAULT '{}';
