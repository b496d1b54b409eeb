-- Freight forwarding, written by Prisma migrate (camelCase, uuid).
CREATE ROLE "freightDirect" NOLOGIN;
CREATE TYPE "OrgRole" AS ENUM ('OWNER', 'DISPATCHER', 'VIEWER');
CREATE TYPE "QuoteState" AS ENUM ('DRAFT', 'SENT', 'WON', 'LOST');

CREATE TABLE "Org" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "legalName" TEXT NOT NULL,
  "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "Org_pkey" PRIMARY KEY ("id")
);
CREATE TABLE "User" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "email" TEXT NOT NULL,
  "name" TEXT,
  CONSTRAINT "User_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
CREATE TABLE "OrgMember" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "orgId" UUID NOT NULL,
  "userId" UUID NOT NULL,
  "role" "OrgRole" NOT NULL DEFAULT 'VIEWER',
  "removedAt" TIMESTAMP(3),
  CONSTRAINT "OrgMember_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "OrgMember_orgId_fkey" FOREIGN KEY ("orgId") REFERENCES "Org"("id") ON DELETE CASCADE,
  CONSTRAINT "OrgMember_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"("id") ON DELETE CASCADE
);
CREATE UNIQUE INDEX "OrgMember_orgId_userId_key" ON "OrgMember"("orgId", "userId");
-- ports and lanes are public knowledge (UN/LOCODE pairs)
CREATE TABLE "Lane" (
  "code" TEXT NOT NULL,
  "fromPort" CHAR(5) NOT NULL,
  "toPort" CHAR(5) NOT NULL,
  CONSTRAINT "Lane_pkey" PRIMARY KEY ("code")
);
CREATE TABLE "Rate" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "orgId" UUID NOT NULL,
  "laneCode" TEXT NOT NULL,
  "carrier" TEXT NOT NULL,
  "basePrice" DECIMAL(12,2) NOT NULL,
  "fuelSurcharge" DECIMAL(5,2) NOT NULL DEFAULT 0,
  "validUntil" DATE,
  CONSTRAINT "Rate_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "Rate_orgId_fkey" FOREIGN KEY ("orgId") REFERENCES "Org"("id") ON DELETE CASCADE,
  CONSTRAINT "Rate_laneCode_fkey" FOREIGN KEY ("laneCode") REFERENCES "Lane"("code")
);
CREATE INDEX "Rate_orgId_laneCode_idx" ON "Rate"("orgId", "laneCode");
CREATE TABLE "FuelUpload" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "orgId" UUID NOT NULL,
  "laneCode" TEXT NOT NULL,
  "percent" DECIMAL(5,2) NOT NULL,
  "appliedAt" TIMESTAMP(3),
  CONSTRAINT "FuelUpload_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "FuelUpload_orgId_fkey" FOREIGN KEY ("orgId") REFERENCES "Org"("id") ON DELETE CASCADE,
  CONSTRAINT "FuelUpload_laneCode_fkey" FOREIGN KEY ("laneCode") REFERENCES "Lane"("code")
);
CREATE TABLE "Quote" (
  "id" UUID NOT NULL DEFAULT gen_random_uuid(),
  "orgId" UUID NOT NULL,
  "rateId" UUID NOT NULL,
  "customer" TEXT NOT NULL,
  "state" "QuoteState" NOT NULL DEFAULT 'DRAFT',
  "marginPct" DECIMAL(5,2) NOT NULL DEFAULT 10,
  CONSTRAINT "Quote_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "Quote_orgId_fkey" FOREIGN KEY ("orgId") REFERENCES "Org"("id") ON DELETE CASCADE,
  CONSTRAINT "Quote_rateId_fkey" FOREIGN KEY ("rateId") REFERENCES "Rate"("id")
);
